// Every ten minutes: the ten minutes that ended a moment ago, for charts over months.
// setup.sh puts the names of the buckets in. Late readings (flags with "late" or "historical") are
// in the raw bucket only.
option task = {name: "gridwarden_10m", every: 10m, offset: 2m}

span = {start: -task.every, stop: now()}

measures = (tables=<-) => tables |> filter(fn: (r) => r._field !~ /\.none$/)

data =
    from(bucket: "BUCKET")
        |> range(start: span.start, stop: span.stop)
        |> filter(fn: (r) => r._measurement == "reading")
        |> measures()

data
    |> aggregateWindow(every: 10m, fn: mean, createEmpty: false)
    |> to(bucket: "BUCKET_COARSE")

data
    |> aggregateWindow(every: 10m, fn: max, createEmpty: false)
    |> set(key: "_measurement", value: "reading_max")
    |> to(bucket: "BUCKET_COARSE")
