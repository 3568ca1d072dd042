-- The job of the reference's third example: only a message with something in its
-- body becomes mail. Corrected against the printed one: it is a piece of a hook, and
-- stands in one here, where from, to and subject have values.
local hooks = {}

function hooks:client_message_recv(sess, stanza)
  local from, to = stanza:attr("from"), stanza:attr("to")
  local body, subject = "", "(none)"
  for child in stanza:children() do
    if child:name() == "body" then
      body = child:contents()
    elseif child:name() == "subject" then
      subject = child:contents()
    end
  end

  if (body:len() > 0) then
    local headers, parts = {}, {}
    headers["From"] = from
    headers["To"] = to
    headers["Subject"] = subject
    parts["text/plain"] = body
    local mail = msys.core.ec_message_new(nil)
    mail:build(headers, parts, nil)
    mail:inject(from, to)
    return msys.xmpp.DONE
  end

  return msys.xmpp.CONT
end

msys.xmpp.registerModule("body_length", hooks)
