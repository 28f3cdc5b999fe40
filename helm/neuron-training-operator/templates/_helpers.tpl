{{/* Name of every object of a release; at most 63 characters, because it is a label's value, too. */}}
{{- define "operator.fullname" -}}
{{- $name := include "operator.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "operator.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Name of an object beside the Deployment: fullname and a suffix, still at most 63 characters. */}}
{{- define "operator.objectName" -}}
{{- $suffix := index . 1 -}}
{{- printf "%s-%s" (include "operator.fullname" (index . 0) | trunc (int (sub 62 (len $suffix))) | trimSuffix "-") $suffix -}}
{{- end -}}

{{/* Labels by which pods are selected: they can never change for a release. */}}
{{- define "operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of an object: those of the chart, then those of the user for this object, then those for all. */}}
{{- define "operator.labelsWith" -}}
{{- $root := index . 0 -}}
{{- $own := include "operator.selectorLabels" $root | fromYaml -}}
{{- $own = merge $own (dict "app.kubernetes.io/version" $root.Chart.AppVersion "app.kubernetes.io/managed-by" $root.Release.Service) -}}
{{- $own = merge $own (dict "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_")) -}}
{{- toYaml (merge $own (index . 1) $root.Values.commonLabels) -}}
{{- end -}}

{{- define "operator.labels" -}}
{{- include "operator.labelsWith" (list . dict) -}}
{{- end -}}

{{/* Full name of an image out of registry, repository, tag and digest; the digest wins, the tag is the chart's version if empty. */}}
{{- define "operator.image" -}}
{{- $image := index . 1 -}}
{{- with $image.registry }}{{ . }}/{{ end -}}
{{- $image.repository -}}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default (index . 0).Chart.AppVersion }}{{ end -}}
{{- end -}}

{{/* Page of an alert, as a quoted text. */}}
{{- define "operator.runbook" -}}
{{- printf "%s/%s.md" (trimSuffix "/" (index . 0).Values.metrics.rules.runbookBaseUrl) (index . 1) | quote -}}
{{- end -}}

{{- define "operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "operator.fullname" .) -}}
{{- else -}}
{{- required "serviceAccount.name is not set, but serviceAccount.create is false: name the account to use." .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "operator.failureTable" -}}
{{- .Values.failureTable.configMap | default (include "operator.objectName" (list . "failures")) -}}
{{- end -}}

{{/* What the operator may do in the namespaces of jobs: what it does, and nothing else. */}}
{{- define "operator.jobRules" -}}
- apiGroups: [neurontraining.dev]
  resources: [neurontrainingjobs]
  verbs: [get, list, watch, delete]  # delete: spec.ttlDeletionPolicy
- apiGroups: [neurontraining.dev]
  resources: [neurontrainingjobs/status]
  verbs: [update]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, delete]
# create and patch: server-side apply.
- apiGroups: [""]
  resources: [services, configmaps]
  verbs: [get, create, patch, delete]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- if has "Kueue" .Values.gangSchedulers }}
# Kueue's word about a gang, and its queue.
- apiGroups: [kueue.x-k8s.io]
  resources: [workloads, localqueues]
  verbs: [get]
# spec.scheduling.maxPriorityBoost: an annotation of the Workload.
- apiGroups: [kueue.x-k8s.io]
  resources: [workloads]
  verbs: [patch]
# Kueue keeps ended pods by a finalizer, which the operator takes from its own.
- apiGroups: [""]
  resources: [pods]
  verbs: [patch]
{{- end }}
{{- $groups := dict "Volcano" "scheduling.volcano.sh" "Coscheduling" "scheduling.x-k8s.io" "Workload" "scheduling.k8s.io" }}
{{- range $name := list "Volcano" "Coscheduling" "Workload" }}
{{- if has $name $.Values.gangSchedulers }}
- apiGroups: [{{ get $groups $name }}]
  resources: [podgroups]
  verbs: [list, create, patch, delete]
{{- end }}
{{- end }}
{{- end -}}

{{- define "operator.subjects" -}}
- kind: ServiceAccount
  name: {{ include "operator.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}
