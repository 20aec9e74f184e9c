"""The HTTP service behind `vlad serve`.

    app         routes: request -> reply
    guard       what every request passes first: host, key, size, time
    batching    images of many requests, scored together
    detectors   the detectors served, by name
    replies     scores -> what is said of an image
    schemas     what goes over the wire
    threads     a thread for one piece of work with tensors
    patience    how long a connection may be silent
    server      the process, until a signal ends it
    keys, metrics, page

Nothing here is imported before `vlad serve` runs; it needs the extra `serve`.
"""
