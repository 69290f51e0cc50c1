-- A mail server's side played by OpenDKIM's miltertest: the session of filter_twins.py with the recipe `all`.
--   miltertest -D socket=PATH -s mta.lua

local function go_on(what)
  if mt.getreply(conn) ~= SMFIR_CONTINUE then error(what .. " was not answered by CONTINUE") end
end
local function want(what, found)
  if not found then error("the filter did not ask for " .. what) end
end

conn = mt.connect(socket)
if conn == nil then error("cannot connect to " .. socket) end
if mt.conninfo(conn, "[127.0.0.1]", "127.0.0.1") ~= nil then error("conninfo") end
go_on("connect")
mt.helo(conn, "client.example")
go_on("helo")
mt.mailfrom(conn, "<all@source.example>")
go_on("mail")
for _, rcpt in ipairs({"<r@sink.example>", "<r2@sink.example>"}) do
  mt.rcptto(conn, rcpt)
  go_on("rcpt")
end
mt.data(conn)
go_on("data")
for _, field in ipairs({{"From", " <a@source.example>"}, {"X-Many", " 1"}, {"X-Many", " 2"}, {"Subject", " a"}}) do
  mt.header(conn, field[1], field[2])
  go_on(field[1])
end
mt.eoh(conn)
go_on("eoh")
mt.bodystring(conn, "hello\r\n")
go_on("body")
mt.eom(conn)
go_on("eom")
want("a new field", mt.eom_check(conn, MT_HDRADD, "X-A", "v") or mt.eom_check(conn, MT_HDRADD, "X-A", " v"))
want("a field at 1", mt.eom_check(conn, MT_HDRINSERT, "X-B", "v", 1) or mt.eom_check(conn, MT_HDRINSERT, "X-B", " v", 1))
want("a field less", mt.eom_check(conn, MT_HDRDELETE, "X-Many"))
want("another body", mt.eom_check(conn, MT_BODYCHANGE, "new\r\n"))
want("a recipient", mt.eom_check(conn, MT_RCPTADD, "<new@sink.example>"))
want("a recipient less", mt.eom_check(conn, MT_RCPTDELETE, "<r2@sink.example>"))
mt.disconnect(conn)
