"""The build backend of setuptools with one addition: the binding of libssl is compiled (meta1g/st/libssl_build.py).

setup.cfg has no words for an extension that cffi writes.  Ref: PEP 517; setuptools, "Build System Support".
"""

import setuptools
from setuptools.build_meta import _BuildMetaBackend


class _Backend(_BuildMetaBackend):
    def run_setup(self, setup_script: str = "setup.py") -> None:
        """Does what a setup.py would do; there is none."""
        setuptools.setup(cffi_modules=["meta1g/st/libssl_build.py:ffi"])


_backend = _Backend()
get_requires_for_build_wheel = _backend.get_requires_for_build_wheel
get_requires_for_build_sdist = _backend.get_requires_for_build_sdist
get_requires_for_build_editable = _backend.get_requires_for_build_editable
prepare_metadata_for_build_wheel = _backend.prepare_metadata_for_build_wheel
prepare_metadata_for_build_editable = _backend.prepare_metadata_for_build_editable
build_wheel = _backend.build_wheel
build_sdist = _backend.build_sdist
build_editable = _backend.build_editable
