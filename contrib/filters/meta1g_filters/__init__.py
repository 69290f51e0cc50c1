"""Filters that come with meta1g: programs on meta1g.pmilter, installed with the extra `filters`."""
