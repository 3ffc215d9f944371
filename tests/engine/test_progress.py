"""Without a terminal a bar is silent."""

from legorec.engine.progress import bar


def test_a_bar_without_a_terminal_writes_nothing(capsys):
    with bar("epoch 0", 10) as show:
        show(1, 10)
        show(10, 10)
    assert capsys.readouterr() == ("", "")
