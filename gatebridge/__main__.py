"""python -m gatebridge"""

from gatebridge.cli.main import main

main()
