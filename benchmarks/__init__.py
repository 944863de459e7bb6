"""The yardstick: geartrain beside the C gearmand, in one run. `scripts/bench --help` says how."""
