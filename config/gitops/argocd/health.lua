-- Health of every kind of trilobite.dev from its conditions, which Argo CD does not know by itself.
-- A stack that is Ready is Healthy although a few nodes fail: three nodes of ten thousand must not block a sync. The message
-- says what is wrong.
local function health(status, message)
  return { status = status, message = message }
end

if obj.spec ~= nil and obj.spec.suspend == true then
  return health("Suspended", "spec.suspend is true")
end
local status = obj.status
if status == nil or status.conditions == nil or status.observedGeneration ~= obj.metadata.generation then
  return health("Progressing", "the operator has not reconciled this generation yet")
end
local by_type = {}
for _, condition in ipairs(status.conditions) do
  by_type[condition.type] = condition
end
local function holds(kind)
  return by_type[kind] ~= nil and by_type[kind].status == "True"
end

if holds("Stalled") then
  return health("Degraded", by_type.Stalled.message)
end
if holds("Ready") then
  local message = by_type.Ready.message
  if holds("Degraded") then
    message = message .. "; " .. by_type.Degraded.message
  end
  return health("Healthy", message)
end
if by_type.Ready ~= nil then
  return health("Progressing", by_type.Ready.message)
end
return health("Progressing", "no condition Ready yet")
