"""`da benchmark` and `da reproduce`: suites of runs, their tables, and whether a row comes out again."""
