-- One-off requests of two items, as wrk sends them: to the instances of the file FAREBOX_IDS in turn.
local requests, at = {}, 0
local body = '{"requester":{"type":"user","value":"LisaBarry"},"requestedItems":['
    .. '{"item":"PhotoPrint","version":"1.0","count":10},{"item":"CADPrint","version":"2.0","count":2}]}'

function init()
    local headers = {
        ["Authorization"] = "Bearer " .. os.getenv("FAREBOX_TOKEN"),
        ["Content-Type"] = "application/json",
    }
    for id in io.lines(os.getenv("FAREBOX_IDS")) do
        requests[#requests + 1] =
            wrk.format("POST", "/elastic/api/v1.0/instances/" .. id .. "/access-request", headers, body)
    end
end

function request()
    at = at % #requests + 1
    return requests[at]
end
