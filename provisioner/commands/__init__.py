"""What each command does with ledger, targets and engine: the command line and the Python API call these.

One module a command, with the function of the same name in it. This package exports nothing itself: a function called
``apply`` here would be replaced by the module of that name as soon as somebody imports the module.
"""
