-- Health of a NeuronTrainingJob for Argo CD, from the kstatus conditions that the operator writes:
-- exactly one of Ready, Reconciling and Stalled is True. How to install it: docs/gitops.md.
local hs = { status = "Progressing", message = "Waiting for the operator." }

if obj.status == nil or obj.status.conditions == nil then
  return hs
end
if obj.metadata.generation ~= nil and obj.status.observedGeneration ~= obj.metadata.generation then
  hs.message = "Waiting for the operator to see the changed spec."
  return hs
end

local health = { Ready = "Healthy", Reconciling = "Progressing", Stalled = "Degraded" }
for _, condition in ipairs(obj.status.conditions) do
  if condition.status == "True" and health[condition.type] ~= nil then
    hs.status = health[condition.type]
    hs.message = condition.reason .. ": " .. (condition.message or "")
  end
end
return hs
