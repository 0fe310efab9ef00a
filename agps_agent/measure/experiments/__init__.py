"""Declared experiments: the grids that ship as TOML files, the runs that they ask for, and what runs them."""
