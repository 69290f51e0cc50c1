"""Whatever the text, the answer is a configuration or the configuration error."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import conf_fuzz
from tests.fuzz.runner import run

SEED = 20_240_601
TOKENS = st.sampled_from([piece for piece in conf_fuzz.PIECES if piece.strip()])


def test_two_thousand_damaged_configurations():
    seen = run(conf_fuzz.TARGETS, 2000, SEED)
    assert sum(seen.values()) == 2000
    assert len(seen) == 2, "both answers have to occur, else the damage is too small or too large"


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_any_text(text):
    conf_fuzz.attempt(text)


@settings(max_examples=300, deadline=None)
@given(st.lists(TOKENS, max_size=40))
def test_any_tokens(tokens):
    conf_fuzz.attempt(" ".join(tokens), lenient=True)


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.just("log_level = 9;"), lambda inner: st.lists(inner, max_size=4).map(lambda parts: "x {" + " ".join(parts) + "}")
    )
)
def test_nested_sections(text):
    conf_fuzz.attempt(text, lenient=True)
