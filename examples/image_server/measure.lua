-- For wrk: asks for the thumbs that `measure` has listed, and compares each answer with the right one.
--
-- A thread has to have one connection: then an answer is that of the thread's last request.

local threads = {}

function setup(thread)
    thread:set("number", #threads)
    table.insert(threads, thread)
end

function init(args)
    paths, right = {}, {}
    for line in io.lines(args[1]) do
        local path, file = line:match("^(%S+) (%S+)$")
        local body = io.open(file, "rb")
        table.insert(paths, path)
        right[path] = body:read("*a")
        body:close()
    end
    math.randomseed(1000 + (number or 0))
    good, busy, wrong, first_wrong = 0, 0, 0, ""
end

function request()
    asked = paths[math.random(#paths)]
    return wrk.format("GET", asked)
end

function response(status, headers, body)
    if status == 200 and body == right[asked] then
        good = good + 1
    elseif status == 503 and headers["Retry-After"] and #body > 0 then
        busy = busy + 1
    else
        wrong = wrong + 1
        if first_wrong == "" then
            first_wrong = status .. " " .. asked .. " " .. body:sub(1, 80):gsub("[^%g ]", "?")
        end
    end
end

function done(summary, latency, requests)
    local sums = { good = 0, busy = 0, wrong = 0 }
    local example = ""
    for _, thread in ipairs(threads) do
        for name in pairs(sums) do
            sums[name] = sums[name] + thread:get(name)
        end
        if example == "" then
            example = thread:get("first_wrong")
        end
    end
    local errors = summary.errors
    print(string.format("MEASURED %d %d %d %d %d %d %d %d %d %d %s", sums.good, sums.busy, sums.wrong, errors.connect,
        errors.read, errors.write, errors.timeout, summary.duration, latency:percentile(50), latency:percentile(99), example))
end
