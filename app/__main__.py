"""`python -m app` is the `gridwarden` command: how it starts itself as a child."""

from app.main import main

main()
