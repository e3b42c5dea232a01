-- Asks `zerottl site` about each request, and answers it where it is not to be served. See haproxy.cfg.

local CHECK = "http://127.0.0.1:8054/check/forward"
local PATIENCE_MS = 1000

-- Of the connection, or said anew below.
local NOT_SENT = {
  ["connection"] = true, ["keep-alive"] = true, ["upgrade"] = true, ["te"] = true, ["trailer"] = true,
  ["transfer-encoding"] = true, ["content-length"] = true, ["expect"] = true, ["host"] = true,
  ["x-forwarded-host"] = true, ["x-forwarded-method"] = true, ["x-forwarded-uri"] = true,
  ["x-original-protocol"] = true, ["x-original-server-name"] = true,
}
local NOT_PASSED_ON = {
  ["connection"] = true, ["keep-alive"] = true, ["transfer-encoding"] = true, ["content-length"] = true, ["date"] = true,
}

-- Tables of values begin with 0.
local function each(values)
  local list = {}
  for _, value in pairs(values) do table.insert(list, value) end
  return list
end

core.register_action("zerottl", { "http-req" }, function(txn)
  local headers = {}
  for name, values in pairs(txn.http:req_get_headers()) do
    if not NOT_SENT[name] then headers[name] = each(values) end
  end
  headers["x-forwarded-method"] = { txn.sf:method() }
  headers["x-forwarded-uri"] = { txn.sf:pathq() }
  headers["x-original-protocol"] = { "HTTP/" .. txn.sf:req_ver() }
  local host = txn.sf:req_hdr("host")
  if host ~= "" then headers["x-forwarded-host"] = { host } end
  local server_name = txn.sf:ssl_fc_sni()
  if server_name ~= "" then headers["x-original-server-name"] = { server_name } end

  local answer = core.httpclient():get { url = CHECK, headers = headers, timeout = PATIENCE_MS }
  local told = answer and answer.headers or {}
  local function field(name) return told[name] and each(told[name])[1] end

  if answer and answer.status == 200 and field("x-zerottl-uri") then
    txn:set_var("txn.zerottl_uri", field("x-zerottl-uri"))
    for name, variable in pairs({ ["x-zerottl-cookie"] = "txn.zerottl_cookie", ["x-zerottl-cookie-2"] = "txn.zerottl_cookie_2" }) do
      if field(name) then txn:set_var(variable, field(name)) end
    end
    return
  end

  -- Nobody is served unasked.
  local status = answer and answer.status or 0
  if status < 300 then status = 503 end
  local reply = txn:reply { status = status }
  for name, values in pairs(told) do
    if not NOT_PASSED_ON[name] then
      for _, value in ipairs(each(values)) do reply:add_header(name, value) end
    end
  end
  if answer and answer.body then reply:set_body(answer.body) end
  txn:done(reply)
end)
