"""Thread-specific data; keys cannot be given back, so each test runs in a process of its own."""

import subprocess
import sys

HEAD = "from meta1g import st\nst.st_init()\n"


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", HEAD + code], capture_output=True, text=True, timeout=30, check=True).stdout


def test_each_thread_has_its_own_value():
    assert (
        run("""
key = st.st_key_create()
st.st_thread_setspecific(key, "main")
print(st.st_thread_join(st.st_thread_create(lambda _: st.st_thread_getspecific(key), None, True)))
print(st.st_thread_getspecific(key))
""")
        == "None\nmain\n"
    )


def test_destructors_run_for_replaced_values_and_at_the_end_in_the_order_of_the_keys():
    assert (
        run("""
keys = [st.st_key_create(lambda v, n=n: print("destroy", n, v)) for n in range(3)]
def body(_):
    for key in reversed(keys):
        st.st_thread_setspecific(key, "old")
    st.st_thread_setspecific(keys[1], "new")
    st.st_thread_setspecific(keys[1], "new")
    st.st_thread_setspecific(keys[2], None)
st.st_thread_join(st.st_thread_create(body, None, True))
""")
        == "destroy 1 old\ndestroy 2 old\ndestroy 0 old\ndestroy 1 new\n"
    )


def test_a_destructor_that_fails_is_reported_and_the_thread_ends_all_the_same():
    code = """
st.set_error_hook(lambda error: print("reported", type(error).__name__))
key = st.st_key_create(lambda value: 1 / 0)
print(st.st_thread_join(st.st_thread_create(lambda _: st.st_thread_setspecific(key, 1) or "result", None, True)))
"""
    assert run(code) == "reported ZeroDivisionError\nresult\n"


def test_there_are_sixteen_keys_and_others_are_refused():
    assert (
        run("""
def error(call, *args):
    try:
        call(*args)
    except st.StError as failure:
        return failure.errno
for _ in range(st.st_key_getlimit()):
    st.st_key_create()
import errno
print(st.st_key_getlimit(), error(st.st_key_create) == errno.EAGAIN, error(st.st_thread_setspecific, 16, 1) == errno.EINVAL)
print(st.st_thread_getspecific(16))
""")
        == "16 True True\nNone\n"
    )
