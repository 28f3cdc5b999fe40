{{/* Name of every object of a release; at most 63 characters, because it is a label's value, too. */}}
{{- define "operator.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels by which pods are selected: they can never change for a release. */}}
{{- define "operator.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "operator.labels" -}}
{{ include "operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "operator.fullname" .) -}}
{{- else -}}
{{- required "serviceAccount.name is not set, but serviceAccount.create is false: name the account to use." .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "operator.failureTable" -}}
{{- .Values.failureTable.configMap | default (printf "%s-failures" (include "operator.fullname" . | trunc 54 | trimSuffix "-")) -}}
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
