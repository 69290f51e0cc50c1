"""meta1g: MeTA1, the mail transfer agent, done again in Python."""

__version__ = "0.1.0"
