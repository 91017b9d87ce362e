"""`python -m pulpit.cli` is `pulpit`."""

from pulpit.cli.main import main

if __name__ == "__main__":
    main()
