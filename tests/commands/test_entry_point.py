"""What all commands do with errors."""

import pytest

from nnunetv2_supervoxel import UserError
from nnunetv2_supervoxel.commands.entry_point import entry_point


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("x is wrong; mend it."), 1, "Error: x is wrong; mend it.\n"),
        (KeyboardInterrupt(), 130, "Stopped; what was finished is kept, the same command goes on from there.\n"),
    ],
)
def test_mistakes_and_ctrl_c_are_a_line_and_a_code(error, code, line, capsys):
    @entry_point
    def command():
        raise error

    assert command() == code
    assert capsys.readouterr() == ("", line)


def test_anything_else_keeps_its_traceback():
    @entry_point
    def command():
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        command()
