"""`python -m rmt_client` is `rmt`."""

from rmt_client.cli import main

main()
