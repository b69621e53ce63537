"""The one exception that stands for a mistake a user can correct."""


class UserError(Exception):
    """Bad input, told in one sentence: what was wrong, where, and what to do next.

    Commands print the sentence and exit with a code other than 0; nothing else ends without a traceback.
    """
