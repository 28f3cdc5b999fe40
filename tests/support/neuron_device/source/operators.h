// Operators: computed by the CPU's kernels over the same memory, after the rules have been asked.
#pragma once

#include "guard.h"

#include <cstdlib>
#include <set>

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

namespace standin {

// Ops whose results have a shape that depends on values.
inline const std::set<std::string> kDynamic = {
    "aten::nonzero", "aten::masked_select", "aten::_unique", "aten::_unique2", "aten::unique_dim",
    "aten::unique_consecutive", "aten::bincount", "aten::argwhere", "aten::histc", "aten::unique_dim_consecutive"};

// Ops that add, or multiply, where several may write into one place.
inline const std::set<std::string> kIntegerSums = {
    "aten::index_add", "aten::index_add_", "aten::scatter_add", "aten::scatter_add_", "aten::scatter_reduce",
    "aten::scatter_reduce_", "aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm"};

inline bool is_integer(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kInt || tensor.scalar_type() == at::kLong;
}

// The device computes int64 in int32: what does not fit would lose its upper half without a word.
inline void refuse_wide(const std::string& name, const char* what, const at::Tensor& host) {
  if (host.scalar_type() != at::kLong || host.numel() == 0) return;
  auto [low, high] = at::aminmax(host);
  check(
      low.item<int64_t>() >= INT32_MIN && high.item<int64_t>() <= INT32_MAX, "int32-range", name, what,
      " an int64 beyond the range of int32, in which the device computes; use int32, and two words for more bits");
}

// Ops that the environment says to compute on the CPU, and those that had to be.
inline std::mutex fallbacks_lock;
inline std::set<std::string> chosen_fallbacks;
inline std::map<std::string, int64_t> fallbacks;

inline bool is_limited() {
  const char* value = std::getenv("TORCH_NEURONX_FALLBACK_ONLY_FOR_UNIMPLEMENTED_OPS");
  return value != nullptr && std::string(value) == "1";
}

inline void fall_back(const std::string& name) {
  {
    std::lock_guard<std::mutex> locked(fallbacks_lock);
    ++fallbacks[name];
  }
  tell("fallback", name);
}

// Within a graph int64 is int32 to the compiler; an eager operator takes it through the host, and waits.
inline thread_local int graphs = 0;

// One call of an operator: what its arguments are on the device, and what the CPU's kernel is given for them.
struct Call {
  const c10::FunctionSchema& schema;
  torch::jit::Stack* stack;
  const std::string& name;
  size_t first;
  bool has_device_tensor = false;
  bool has_host_tensor = false;
  bool is_dynamic = false;
  bool is_for_device = false;
  bool has_wide_integer = false;
  std::string shapes;
  std::vector<std::pair<at::Tensor, at::Tensor>> resized;
  std::vector<std::pair<at::Tensor, at::Tensor>> views;
  std::optional<at::Generator> replaced;

  Call(const c10::OperatorHandle& op, torch::jit::Stack* stack)
      : schema(op.schema()), stack(stack), name(op.schema().name()), first(stack->size() - schema.arguments().size()) {
    is_dynamic = kDynamic.count(name) > 0 || (name == "aten::repeat_interleave" && schema.arguments().size() <= 2);
  }

  bool is_written(size_t number) const {
    const auto* alias = schema.arguments()[number].alias_info();
    return alias != nullptr && alias->isWrite();
  }

  // PyTorch itself makes a result with the strides of the arguments, and has the `out` variant fill it. What it made is
  // no argument, and nobody else has its memory.
  bool is_fresh_result(size_t number, const at::Tensor& tensor) const {
    if (!schema.arguments()[number].is_out() || tensor.storage().use_count() > 1) return false;
    for (size_t other = 0; other < number; ++other) {
      const auto& value = (*stack)[first + other];
      if (value.isTensor() && value.toTensor().is_same(tensor)) return false;
    }
    return true;
  }

  void refuse_write(size_t number, const at::Tensor& tensor) {
    if (!is_on_device(tensor) || tensor.is_contiguous() || tensor.numel() == 0) return;
    if (is_fresh_result(number, tensor)) return;
    tell("view_write", name + " " + shape(tensor));
    check(
        !is_limited(), "contiguous-writes", name, " cannot write into a non-contiguous tensor in place (",
        shape(tensor), " with strides ", tensor.strides(), "); write it functionally");
    fall_back(name);
  }

  void refuse_writes() {
    for (size_t number = 0; number < schema.arguments().size(); ++number) {
      if (!is_written(number)) continue;
      const auto& value = (*stack)[first + number];
      if (value.isTensor()) refuse_write(number, value.toTensor());
      if (!value.isTensorList()) continue;
      for (const at::Tensor& one : value.toTensorVector()) refuse_write(number, one);
    }
  }

  at::Tensor on_host(const at::Tensor& tensor, bool may_grow, bool is_written) {
    if (!tensor.defined()) return tensor;
    if (!is_on_device(tensor)) {
      has_host_tensor |= tensor.dim() > 0;
      if (tensor.dim() == 0 && !tensor.unsafeGetTensorImpl()->is_wrapped_number()) {
        tell("to_device", name + " takes " + shape(tensor) + " of the host");
      }
      return tensor;
    }
    has_device_tensor = true;
    has_wide_integer |= tensor.scalar_type() == at::kLong;
    if (observer.load() != nullptr) shapes += " " + shape(tensor);
    if (may_grow && tensor.numel() == 0) {
      auto fresh = at::empty(tensor.sizes(), at::TensorOptions().dtype(tensor.dtype()).device(at::kCPU));
      resized.emplace_back(tensor, fresh);
      return fresh;
    }
    auto view = host_view(tensor);
    views.emplace_back(tensor, view);
    if (!is_written) refuse_wide(name, " takes", view);
    return view;
  }

  void take_argument(size_t number) {
    auto& value = (*stack)[first + number];
    const bool may_grow = schema.arguments()[number].is_out();
    const bool has_result = is_written(number);
    if (value.isTensor()) {
      value = on_host(value.toTensor(), may_grow, has_result);
    } else if (value.isTensorList()) {
      auto list = value.toTensorVector();
      for (auto& one : list) one = on_host(one, may_grow, has_result);
      value = c10::IValue(list);
    } else if (value.isOptionalTensorList()) {
      c10::List<std::optional<at::Tensor>> list;
      for (const std::optional<at::Tensor>& one : value.toOptionalTensorVector()) {
        is_dynamic |= one.has_value() && one->defined() && at::isIntegralType(one->scalar_type(), true) &&
            (one->scalar_type() == at::kBool || one->scalar_type() == at::kByte);
        list.push_back(one.has_value() ? std::optional<at::Tensor>(on_host(*one, may_grow, has_result)) : std::nullopt);
      }
      value = c10::IValue(list);
    } else if (value.isDevice()) {
      is_for_device = value.toDevice().type() == kNeuron;
      if (is_for_device) refuse_index(value.toDevice());
      value = c10::IValue(c10::Device(at::kCPU));
    } else if (value.isGenerator() && value.toGenerator().device().type() == kNeuron) {
      replaced = value.toGenerator();
      value = c10::IValue(next_numbers(*replaced));
    }
  }

  void refuse_integer_sums() {
    if (kIntegerSums.count(name) == 0) return;
    const auto& own = (*stack)[first].toTensor();
    check(
        !is_on_device(own) || !is_integer(own), "integer-sums", name, " of ", shape(own),
        " is computed in fp32, exact up to 2^24 (NCC_EVRF060, NCC_EVRF035); convert it, or count by comparisons");
  }

  void take_arguments() {
    refuse_writes();
    refuse_integer_sums();
    for (size_t number = 0; number < schema.arguments().size(); ++number) take_argument(number);
    check(
        !(has_device_tensor && has_host_tensor), "one-device", name,
        " was given tensors of the device and of the host; move them with .to('neuron') first");
  }

  at::Tensor on_device(const at::Tensor& result) {
    if (!result.defined() || is_on_device(result)) return result;
    if (has_device_tensor || is_for_device) {
      refuse_wide(name, " gives", result);
      has_wide_integer |= result.scalar_type() == at::kLong;
    }
    for (auto& [tensor, host] : resized) {
      if (!host.is_same(result)) continue;
      if (tensor.sizes() != result.sizes()) tensor.resize_(result.sizes());
      host_view(tensor).copy_(result);
      return tensor;
    }
    for (auto& [tensor, host] : views) {
      if (host.is_same(result)) return tensor;
    }
    return has_device_tensor || is_for_device ? adopt(result) : result;
  }

  void give_results() {
    const size_t returns = schema.returns().size();
    for (size_t place = stack->size() - returns; place < stack->size(); ++place) {
      auto& value = (*stack)[place];
      if (value.isTensor()) {
        value = on_device(value.toTensor());
      } else if (value.isTensorList()) {
        auto list = value.toTensorVector();
        for (auto& one : list) one = on_device(one);
        value = c10::IValue(list);
      } else if (!value.isNone()) {
        tell("wait", name + " returns a number");
      }
    }
  }
};

// Random operators without a generator argument draw from the host's default one: give it the device's numbers.
struct DeviceNumbers {
  at::Generator host = at::detail::getDefaultCPUGenerator();
  at::Tensor before;
  bool is_needed;

  explicit DeviceNumbers(bool is_needed) : is_needed(is_needed) {
    if (!is_needed) return;
    before = host.get_state();
    host.set_state(next_numbers(default_generator()).get_state());
  }
  ~DeviceNumbers() {
    if (is_needed) host.set_state(before);
  }
};

inline void compute(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  Call call(op, stack);
  touch();
  count(call.name);
  call.take_arguments();
  if (call.is_dynamic) tell("dynamic", call.name + call.shapes);
  {
    std::unique_lock<std::mutex> locked(fallbacks_lock);
    const bool is_chosen = chosen_fallbacks.count(call.name) > 0;
    locked.unlock();
    if (is_chosen) fall_back(call.name);
  }
  {
    DeviceNumbers numbers(op.hasTag(at::Tag::nondeterministic_seeded) && !call.replaced.has_value());
    op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  }
  call.give_results();
  if (call.has_wide_integer && graphs == 0) tell("int64", call.name + call.shapes);
}

inline at::Tensor empty(
    at::IntArrayRef sizes, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
    std::optional<at::Device> device, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  refuse_index(device);
  refuse_dtype(c10::dtype_or_default(dtype));
  auto keys = c10::DispatchKeySet(c10::DispatchKey::PrivateUse1);
  return at::detail::empty_generic(sizes, &device_memory, keys, c10::dtype_or_default(dtype), format);
}

inline at::Tensor empty_strided(
    at::IntArrayRef sizes, at::IntArrayRef strides, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
    std::optional<at::Device> device, std::optional<bool>) {
  refuse_index(device);
  refuse_dtype(c10::dtype_or_default(dtype));
  auto keys = c10::DispatchKeySet(c10::DispatchKey::PrivateUse1);
  return at::detail::empty_strided_generic(sizes, strides, &device_memory, keys, c10::dtype_or_default(dtype));
}

inline void transfer(const at::Tensor& from, const at::Tensor& to, bool is_asynchronous) {
  touch();
  count("aten::copy_");
  if (is_on_device(from) && !is_on_device(to)) {
    tell("to_host", shape(from));
    if (is_asynchronous && is_pinned(to.storage().data())) return begin_transfer(from, to);
    finish_transfers();
    tell("wait", "copy to the host of " + shape(from));
  } else if (is_on_device(to) && !is_on_device(from)) {
    const bool is_free = is_asynchronous && is_pinned(from.storage().data());
    tell("to_device", shape(from) + (is_free ? "" : " unpinned"));
  } else if (!to.is_contiguous()) {
    tell("strided_copy", shape(to));
  }
  const bool is_cast = from.scalar_type() != to.scalar_type() && is_on_device(from) && is_on_device(to);
  if (is_cast && graphs == 0 && (from.scalar_type() == at::kLong || to.scalar_type() == at::kLong)) {
    tell("int64", "copy of " + shape(from) + " to " + shape(to));
  }
  host_view(to).copy_(host_view(from));
}

inline at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool is_asynchronous) {
  transfer(from, to, is_asynchronous);
  return to;
}

inline at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  if (to.sizes() != from.sizes()) to.resize_(from.sizes());
  transfer(from, to, false);
  return to;
}

inline at::Scalar read_number(const at::Tensor& tensor) {
  finish_transfers();
  tell("wait", "item of " + shape(tensor));
  return host_view(tensor).item();
}

inline const at::Tensor& resize(const at::Tensor& tensor, at::IntArrayRef sizes, std::optional<at::MemoryFormat>) {
  const int64_t count = c10::multiply_integers(sizes);
  const size_t bytes = (tensor.storage_offset() + count) * tensor.itemsize();
  if (tensor.storage().nbytes() < bytes) grow(tensor.storage(), bytes);
  tensor.unsafeGetTensorImpl()->set_sizes_contiguous(sizes);
  return tensor;
}

inline at::Tensor& set_view(
    at::Tensor& tensor, at::Storage storage, int64_t offset, at::IntArrayRef sizes, at::IntArrayRef strides) {
  auto* self = tensor.unsafeGetTensorImpl();
  self->set_storage_keep_dtype(std::move(storage));
  self->set_storage_offset(offset);
  if (strides.size() == sizes.size()) {
    self->set_sizes_and_strides(sizes, strides);
  } else {
    self->set_sizes_contiguous(sizes);
  }
  return tensor;
}

inline at::Tensor& set_storage(at::Tensor& tensor, at::Storage storage) {
  const int64_t count = storage.nbytes() / tensor.itemsize();
  return set_view(tensor, std::move(storage), 0, {count}, {1});
}

inline at::Tensor& set_tensor(at::Tensor& tensor, const at::Tensor& source) {
  return set_view(tensor, source.storage(), source.storage_offset(), source.sizes(), source.strides());
}

inline void keep_for_stream(at::Tensor&, at::Stream) {}

// Attention by products and a softmax: the CPU's fused kernel is none of the device's.
inline int64_t choose_attention(
    const at::Tensor&, const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, double, bool,
    std::optional<double>, bool) {
  return 0;
}

}  // namespace standin
