"""A log sink that keeps the text of each line."""


class Lines:
    """Keeps the lines in `lines`."""

    def __init__(self):
        self.lines = []

    def write(self, sevr, stamp, head, text):
        self.lines.append(text)

    def reopen(self):
        pass
