// The module `torch_neuronx._C` of the stand-in: registers device, operators and generator with PyTorch.
#include "operators.h"

#include <ATen/autocast_mode.h>
#include <ATen/native/Resize.h>
#include <ATen/native/TensorShape.h>

namespace standin {

static at::Tensor as_strided(
    const at::Tensor& tensor, at::IntArrayRef sizes, at::IntArrayRef strides, std::optional<int64_t> offset) {
  return at::native::as_strided_tensorimpl(tensor, sizes, strides, offset);
}

static at::Tensor reshape_alias(const at::Tensor& tensor, at::IntArrayRef sizes, at::IntArrayRef strides) {
  return at::native::as_strided_tensorimpl(tensor, sizes, strides, tensor.storage_offset());
}

static at::Tensor view(const at::Tensor& tensor, at::IntArrayRef sizes) { return at::native::view(tensor, sizes); }

static at::Tensor unfold(const at::Tensor& tensor, int64_t dim, int64_t size, int64_t step) {
  return at::native::unfold(tensor, dim, size, step);
}

REGISTER_ALLOCATOR(kNeuron, &device_memory);
static c10::impl::DeviceGuardImplRegistrar guard_registrar(kNeuron, new Guard());

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&compute>());
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("empty.memory_format", empty);
  library.impl("empty_strided", empty_strided);
  library.impl("_copy_from", copy_from);
  library.impl("_copy_from_and_resize", copy_from_and_resize);
  library.impl("_local_scalar_dense", read_number);
  library.impl("as_strided", as_strided);
  library.impl("_reshape_alias", reshape_alias);
  library.impl("view", view);
  library.impl("unfold", unfold);
  library.impl("resize_", resize);
  library.impl("set_.source_Storage", set_storage);
  library.impl("set_.source_Storage_storage_offset", set_view);
  library.impl("set_.source_Tensor", set_tensor);
  library.impl("record_stream", keep_for_stream);
  library.impl("_fused_sdp_choice", choose_attention);
  // PyTorch would compose these of others where a device has no kernel, and round elsewhere than the CPU does.
  library.impl("silu_backward", torch::CppFunction::makeFromBoxedFunction<&compute>());
  library.impl("native_layer_norm", torch::CppFunction::makeFromBoxedFunction<&compute>());
}

// Under autocast the same operators are bf16 as on the CPU.
TORCH_LIBRARY_IMPL(_, AutocastPrivateUse1, library) { library.fallback(torch::CppFunction::makeFallthrough()); }

}  // namespace standin

TORCH_LIBRARY_IMPL(aten, AutocastPrivateUse1, m) {
  KERNEL_PRIVATEUSEONE(linear, lower_precision_fp)
  KERNEL_PRIVATEUSEONE(matmul, lower_precision_fp)
  KERNEL_PRIVATEUSEONE(mm, lower_precision_fp)
  KERNEL_PRIVATEUSEONE(bmm, lower_precision_fp)
  KERNEL_PRIVATEUSEONE(addmm, lower_precision_fp)
  KERNEL_PRIVATEUSEONE(baddbmm, lower_precision_fp)
  KERNEL_PRIVATEUSEONE(scaled_dot_product_attention, lower_precision_fp)
}

PYBIND11_MODULE(_C, module) {
  module.def("register", [](pybind11::function opener) {
    standin::opener.store(opener.release().ptr());
    at::RegisterPrivateUse1HooksInterface(new standin::Hooks());
  });
  module.def("set_index", [](int index) { standin::own_index = static_cast<c10::DeviceIndex>(index); });
  module.def("index", [] { return int(standin::own_index); });
  module.def("touch", &standin::touch);
  module.def("is_open", [] { return standin::is_open.load(); });
  module.def("close", [] { standin::is_open = false; });
  module.def("enter_graph", [] { ++standin::graphs; });
  module.def("leave_graph", [] { --standin::graphs; });
  module.def("wait", [] { standin::Guard::wait("device"); });
  module.def("observe", [](pybind11::function observer) { standin::observer.store(observer.release().ptr()); });
  module.def("tell", &standin::tell);
  module.def("host_view", &standin::host_view);
  module.def("default_generator", [] { return standin::default_generator(); });
  module.def("operators", [] {
    std::lock_guard<std::mutex> locked(standin::operators_lock);
    return standin::operators;
  });
  module.def("choose_fallbacks", [](std::set<std::string> names) {
    std::lock_guard<std::mutex> locked(standin::fallbacks_lock);
    standin::chosen_fallbacks = std::move(names);
  });
  module.def("fallbacks", [] {
    std::lock_guard<std::mutex> locked(standin::fallbacks_lock);
    return standin::fallbacks;
  });
  module.def("clear_fallbacks", [] {
    std::lock_guard<std::mutex> locked(standin::fallbacks_lock);
    standin::fallbacks.clear();
  });
}
