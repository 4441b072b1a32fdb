"""``python -m mlssocial.cli``."""

from . import main

main()
