"""What the tests are made of: containers, networks, clusters, faults, waiting, and the account of every commit.

    world.py       everything that one test makes in the engine, labelled, and removed at the end
    node.py        one container: a member of the appliance, an etcd, or anything else
    cluster.py     three etcd and three members, and what a healthy cluster is
    faults.py      what happens to them
    ledger.py      the client that writes all the time and knows what it was promised
    eventually.py  waiting for a condition, with a deadline
    s3.py          object stores as processes, real ones; metadata.py: that of an EC2 instance
    store.py       an object store as a container
    faultproxy.py  what happens to requests on their way to an object store
    timings.py     what is printed at the end of a run, and never asserted

The kit is for tests that run in the image's `test` stage with the engine's socket mounted; `engine.py` finds the
container that it runs in and joins it to the networks of the test.
"""
