"""`python -m pulpit.admin` is `pulp-admin`."""

from pulpit.admin.main import main

if __name__ == "__main__":
    main()
