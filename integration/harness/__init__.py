"""What the tests stand on: the real binary, the simulator in AWS's place, a Postgres of their own, and clients."""
