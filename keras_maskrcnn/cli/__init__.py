"""The command line: `main` runs it, `parser` says what it takes, a module for each family of verbs.

A family has two functions: one adds its verbs to the parser, one for each verb runs it. What a
training run needs (`training_run`, `run_folder`) knows nothing of the command line, so that a
script can start the same run.
"""
