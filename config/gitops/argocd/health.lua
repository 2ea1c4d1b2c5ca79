-- Health of every kind of trilobite.dev, from its conditions. Argo CD knows nothing of them without this.
-- A stack of which a few nodes are bad but that is Ready is Healthy: three nodes of ten thousand must not hold up a sync;
-- its message says what is wrong.
local function said(status, message)
  return { status = status, message = message }
end

if obj.spec ~= nil and obj.spec.suspend == true then
  return said("Suspended", "spec.suspend is true")
end
local status = obj.status
if status == nil or status.conditions == nil or status.observedGeneration ~= obj.metadata.generation then
  return said("Progressing", "the operator has not looked at this generation yet")
end
local by_type = {}
for _, condition in ipairs(status.conditions) do
  by_type[condition.type] = condition
end
local function holds(kind)
  return by_type[kind] ~= nil and by_type[kind].status == "True"
end

if holds("Stalled") then
  return said("Degraded", by_type.Stalled.message)
end
if holds("Ready") then
  local message = by_type.Ready.message
  if holds("Degraded") then
    message = message .. "; " .. by_type.Degraded.message
  end
  return said("Healthy", message)
end
if by_type.Ready ~= nil then
  return said("Progressing", by_type.Ready.message)
end
return said("Progressing", "no condition Ready yet")
