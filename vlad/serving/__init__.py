"""The HTTP service behind `vlad serve`.

    app         the application: routes behind the guard
    routes/     request -> reply
    form        refuses what a form or query would lose in silence
    guard       checks every request first: host, key, size, time
    batching    scores images of many requests together
    detectors   the detectors served, by name
    reload      detectors loaded again from their folders
    replies     scores -> reply
    schemas     the JSON of requests and replies
    traffic     the requests being answered, and whether more are taken
    threads     a thread for one piece of tensor work
    prefix      the path under which a proxy offers the service
    recorder    an id for every request, and what the log tells of it
    log         the request log
    server      the process, which runs until a signal stops it
    address, keys, limits, metrics, page

Only `vlad serve` imports these modules; they need the extra `serve`.
"""
