-- The job of the reference's first example: mail goes to Jabber at once where the
-- recipient is online, and the usual way where not. It uses the same functions,
-- with the same forms of call. Corrected against the printed one: the quotation
-- marks around "msys.extended.message_routing" and other arguments are plain ones.
require("msys.extended.message")
require("msys.extended.message_routing")
xmpp = require("msys.xmpp")

local hooks = {}

function hooks:core_ec_message_enqueue(msg)
  local to = msg:rcptto()
  if not (xmpp.valid_domain(msg:routing_domain()) and xmpp.online(to)) then
    return EC_MESSAGE_ENQUEUE_HOOK_CONT
  end
  local out = xml.newnode("message")
  out:attr("to", to)
  out:attr("from", 'robot@no-replies.example')
  out:addchild("body"):contents(msg:text())
  xmpp.routeStanza(out)
  msg.delivered = msys.core.EM_SUCCEEDED
  return EC_MESSAGE_ENQUEUE_HOOK_OK
end

msys.registerModule("mail_to_jabber", hooks);
