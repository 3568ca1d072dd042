-- The job of the reference's second example: what a client writes becomes mail.
-- Corrected against the printed one: plain quotation marks around the names of
-- attributes.
require("msys.extended.message")
xmpp = require("msys.xmpp")

local hooks = {}

function hooks:client_message_recv(sess, stanza)
  for child in stanza:children() do
    if child:name() == 'body' then
      local from, to = stanza:attr("from"), stanza:attr("to")
      local mail = msys.core.ec_message_new(nil)
      mail:build({ From = from, To = to }, { ["text/plain"] = child:contents() }, nil)
      mail:inject(from, to)
      return msys.xmpp.DONE;
    end
  end
  return msys.xmpp.CONT;
end

xmpp.registerModule("jabber_to_mail", hooks)
