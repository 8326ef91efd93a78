-- What a Lua filter does to count as the naive filter does: the same four reads, a
-- counter and a histogram a request. Nothing but dynamic metadata goes from the
-- request to the response, and its clock counts milliseconds.

function envoy_on_request(handle)
  local headers = handle:headers()
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set("count", "method", headers:get(":method"))
  metadata:set("count", "path", headers:get(":path"))
  metadata:set("count", "begin", handle:timestamp())
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local status = headers:get(":status")
  local cache = headers:get("cache-status")
  cache = cache and (cache:find("hit") and "hit" or "miss") or "none"
  local request = handle:streamInfo():dynamicMetadata():get("count")
  local labels = ".method=" .. request.method .. ".path=" .. request.path
  local stats = handle:stats()
  stats:counter("lua_requests" .. labels .. ".status=" .. status .. ".cache=" .. cache):inc()
  stats:histogram("lua_duration" .. labels, "ms"):recordValue(handle:timestamp() - request.begin)
end
