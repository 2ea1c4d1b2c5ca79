-- Health of the kinds of trilobite.dev that users write, from the conditions of their status: Argo CD considers a custom
-- resource without a script healthy. It agrees with kstatus, which Flux and kubectl's plugins use, and says two things more:
-- Suspended, and Degraded while nodes fail. Argo CD runs it without Lua's string library.
local function health(status, message)
  return { status = status, message = message }
end

local status = obj.status
if status == nil or status.conditions == nil or status.observedGeneration ~= obj.metadata.generation then
  return health("Progressing", "the operator has not reconciled this generation yet")
end
local by_type = {}
for _, condition in ipairs(status.conditions) do
  by_type[condition.type] = condition
end
local function is_true(kind)
  return by_type[kind] ~= nil and by_type[kind].status == "True"
end

if is_true("Stalled") then
  return health("Degraded", by_type.Stalled.message)
end
if is_true("Reconciling") then
  return health("Progressing", by_type.Reconciling.message)
end
local ready = by_type.Ready
if ready == nil then
  return health("Progressing", "no condition Ready yet")
end
if ready.status == "True" then
  local message = ready.message
  if is_true("Completed") then
    message = by_type.Completed.message
  end
  -- Ready although a few nodes fail: three nodes of ten thousand must not block a sync.
  if is_true("Degraded") then
    message = message .. "; " .. by_type.Degraded.message
  end
  return health("Healthy", message)
end
if ready.status == "False" and ready.reason == "Suspended" then
  return health("Suspended", ready.message)
end
if ready.status == "False" and (ready.reason == "NoMatchingNodes" or is_true("Degraded")) then
  return health("Degraded", ready.message)
end
return health("Progressing", ready.message)
