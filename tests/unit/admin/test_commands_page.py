"""docs/commands.md has exactly the commands and options that exist."""

from support.command_tables import PAGE, on_page, tables


def test_the_page_has_the_tables_of_the_code() -> None:
    assert on_page(PAGE.read_text()) == tables(), "run: python tests/support/command_tables.py"
