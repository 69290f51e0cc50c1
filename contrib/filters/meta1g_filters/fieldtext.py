"""The text of a header field without what means nothing: comments, and what stands in quotation marks.

Pure.  Ref: RFC 5322 3.2.2 (comments nest), 3.2.4 (quoted strings).
"""


def bare_text(text: str, quoted: str) -> str:
    """Puts a word in the place of each quoted string, and a blank in that of each comment; in one pass.

    A comment or quoted string that is not closed goes on to the end.

    Args:
        text: an unfolded or folded value.
        quoted: the word.
    """
    made: list[str] = []
    depth, in_quotes, at = 0, False, 0
    while at < len(text):
        char = text[at]
        at += 2 if char == "\\" and (depth or in_quotes) else 1
        if char == '"' and not depth:
            in_quotes = not in_quotes
            made.append("" if in_quotes else quoted)
        elif char in "()" and not in_quotes:
            depth = max(0, depth + (1 if char == "(" else -1))
            made.append(" ")
        elif not depth and not in_quotes:
            made.append(char)
    return "".join(made)
