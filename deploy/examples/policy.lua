-- Mail to oncall@chat.example.com goes to the first of the people on call who is
-- there to read it, and to the first of the list where nobody is. Newsletters go to
-- nobody.

local people = { "alice@chat.example.com", "bob@chat.example.com", "carol@chat.example.com" }

-- Somebody who shows that he is not to be disturbed is not there.
local function there(jid)
  local presence = xmpp.online(jid)
  return presence and presence.availability and presence.show ~= "dnd"
end

local on_call = {}

function on_call:core_ec_message_enqueue(msg)
  if #msg:header("List-Unsubscribe") > 0 then
    return EC_MESSAGE_ENQUEUE_HOOK_ERR
  end
  if msg:rcptto() ~= "oncall@chat.example.com" then
    return EC_MESSAGE_ENQUEUE_HOOK_CONT
  end
  local reader = people[1]
  for i, jid in ipairs(people) do
    if there(jid) then
      reader = jid
      break
    end
  end
  msg:rcptto(reader)
  return EC_MESSAGE_ENQUEUE_HOOK_CONT
end

-- An MCMT message says in Jabber who has sent it.
function on_call:mcmt_fixup(msg, stanza)
  for part in stanza:children() do
    if part:name() == "body" then
      part:contents("[" .. msg:mailfrom() .. "] " .. part:contents())
    end
  end
end

msys.registerModule("on_call", on_call)
