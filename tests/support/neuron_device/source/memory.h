// Memory of the device, which is host memory under another device type, and pinned memory of the host.
#pragma once

#include "runtime.h"

#include <cstdlib>
#include <unordered_set>
#include <vector>

#include <ATen/EmptyTensor.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>

namespace standin {

inline void release(void* data) { c10::free_cpu(data); }

struct DeviceMemory final : c10::Allocator {
  c10::DataPtr allocate(size_t size) override {
    touch();
    void* data = size ? c10::alloc_cpu(size) : nullptr;
    return {data, data, &release, own_device()};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t size) const override { std::memcpy(to, from, size); }
};

inline DeviceMemory device_memory;

// Pinned memory is ordinary memory whose addresses are known.
inline std::mutex pinned_lock;
inline std::unordered_set<const void*> pinned;

inline bool is_pinned(const void* data) {
  std::lock_guard<std::mutex> locked(pinned_lock);
  return pinned.count(data) > 0;
}

inline void unpin(void* data) {
  {
    std::lock_guard<std::mutex> locked(pinned_lock);
    pinned.erase(data);
  }
  c10::free_cpu(data);
}

struct PinnedMemory final : c10::Allocator {
  c10::DataPtr allocate(size_t size) override {
    const char* is_possible = std::getenv("NEURON_STANDIN_PIN");
    TORCH_CHECK(
        is_possible == nullptr || std::string(is_possible) != "0", "neuron: pin_memory: the driver does not pin");
    void* data = size ? c10::alloc_cpu(size) : nullptr;
    if (data != nullptr) {
      std::lock_guard<std::mutex> locked(pinned_lock);
      pinned.insert(data);
    }
    return {data, data, &unpin, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &unpin; }
  void copy_data(void* to, const void* from, size_t size) const override { std::memcpy(to, from, size); }
};

inline PinnedMemory pinned_memory;

inline bool is_on_device(const at::Tensor& tensor) { return tensor.defined() && tensor.device().type() == kNeuron; }

// A tensor of the host over the memory of a device's tensor; it keeps that memory.
inline at::Tensor host_view(const at::Tensor& tensor) {
  if (!is_on_device(tensor)) return tensor;
  auto storage = tensor.storage();
  char* data = static_cast<char*>(storage.mutable_data());
  void* first = storage.nbytes() ? data + tensor.storage_offset() * tensor.itemsize() : nullptr;
  auto options = at::TensorOptions().dtype(tensor.dtype()).device(at::kCPU);
  return at::from_blob(first, tensor.sizes(), tensor.strides(), [storage](void*) {}, options);
}

// What the device cannot hold is refused where it would be made.
inline void refuse_dtype(at::ScalarType dtype) {
  check(dtype != at::kDouble, "no-float64", "the device has no float64; compute in torch.float32 or on the CPU");
  check(!at::isComplexType(dtype), "no-complex", "the device has no complex numbers (EVRF004)");
}

inline void refuse_index(std::optional<at::Device> device) {
  if (!device.has_value() || !device->has_index()) return;
  check(
      device->index() == own_index, "own-device", "this process has neuron:", int(own_index), " and not neuron:",
      int(device->index()), "; write torch.device('neuron')");
}

// A device's tensor over the memory of a host's tensor, as results of computations become the device's.
inline at::Tensor adopt(const at::Tensor& result) {
  refuse_dtype(result.scalar_type());
  touch();
  auto* kept = new at::Storage(result.storage());
  auto forget = [](void* context) { delete static_cast<at::Storage*>(context); };
  c10::DataPtr data(kept->mutable_data(), kept, forget, own_device());
  at::Storage storage(c10::Storage::use_byte_size_t(), kept->nbytes(), std::move(data), &device_memory, true);
  auto keys = c10::DispatchKeySet(c10::DispatchKey::PrivateUse1);
  auto tensor = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), keys, result.dtype());
  tensor.unsafeGetTensorImpl()->set_storage_offset(result.storage_offset());
  tensor.unsafeGetTensorImpl()->set_sizes_and_strides(result.sizes(), result.strides());
  return tensor;
}

inline void grow(const at::Storage& storage, size_t size) {
  auto fresh = device_memory.allocate(size);
  const size_t same = std::min(size, storage.nbytes());
  if (same > 0) std::memcpy(fresh.get(), storage.data(), same);
  storage.set_data_ptr_noswap(std::move(fresh));
  storage.set_nbytes(size);
}

// Copies to pinned memory that the host has not waited for yet. Until it does, it reads 0xff (a NaN).
struct Transfer {
  at::Tensor to;
  at::Tensor values;
};
inline std::mutex transfers_lock;
inline std::vector<Transfer> transfers;

inline void finish_transfers() {
  std::vector<Transfer> done;
  {
    std::lock_guard<std::mutex> locked(transfers_lock);
    done.swap(transfers);
  }
  for (auto& one : done) one.to.copy_(one.values);
}

inline void begin_transfer(const at::Tensor& from, const at::Tensor& to) {
  auto values = host_view(from).clone();
  if (to.is_contiguous()) std::memset(to.mutable_data_ptr(), 0xff, to.nbytes());
  std::lock_guard<std::mutex> locked(transfers_lock);
  transfers.push_back({to, values});
}

}  // namespace standin
