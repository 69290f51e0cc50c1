"""The build backend of setuptools with two additions that setup.cfg has no words for.

The binding of libssl is compiled (meta1g/st/libssl_build.py), and packages come from two places: the gateway, and the filters
that stand in contrib.  Ref: PEP 517; setuptools, "Build System Support".
"""

from typing import Final

import setuptools
from setuptools.build_meta import _BuildMetaBackend

_FILTERS: Final = "contrib/filters"


class _Backend(_BuildMetaBackend):
    def run_setup(self, setup_script: str = "setup.py") -> None:
        """Does what a setup.py would do; there is none."""
        setuptools.setup(
            cffi_modules=["meta1g/st/libssl_build.py:ffi"],
            packages=setuptools.find_packages(include=["meta1g*"]) + setuptools.find_packages(_FILTERS),
            package_dir={"meta1g_filters": f"{_FILTERS}/meta1g_filters"},
        )


_backend = _Backend()
get_requires_for_build_wheel = _backend.get_requires_for_build_wheel
get_requires_for_build_sdist = _backend.get_requires_for_build_sdist
get_requires_for_build_editable = _backend.get_requires_for_build_editable
prepare_metadata_for_build_wheel = _backend.prepare_metadata_for_build_wheel
prepare_metadata_for_build_editable = _backend.prepare_metadata_for_build_editable
build_wheel = _backend.build_wheel
build_sdist = _backend.build_sdist
build_editable = _backend.build_editable
