// Random numbers of the device: a seed and an offset, 16 bytes of state, apart from the host's.
#pragma once

#include "memory.h"

#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GeneratorImpl.h>

namespace standin {

struct DeviceGenerator final : c10::GeneratorImpl {
  explicit DeviceGenerator(c10::DeviceIndex index)
      : GeneratorImpl({kNeuron, index}, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1)) {}

  void set_current_seed(uint64_t seed) override {
    state[0] = seed;
    state[1] = 0;
  }
  uint64_t current_seed() const override { return state[0]; }
  void set_offset(uint64_t offset) override { state[1] = offset; }
  uint64_t get_offset() const override { return state[1]; }
  uint64_t seed() override {
    set_current_seed(c10::detail::getNonDeterministicRandom());
    return state[0];
  }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override {
    auto bytes = at::empty({16}, at::TensorOptions().dtype(at::kByte).device(at::kCPU));
    std::memcpy(bytes.mutable_data_ptr(), state, 16);
    return bytes.getIntrusivePtr();
  }
  void set_state(const c10::TensorImpl& bytes) override {
    TORCH_CHECK(
        bytes.numel() == 16 && bytes.dtype() == caffe2::TypeMeta::Make<uint8_t>(),
        "neuron: the state of a generator is 16 bytes, not ", bytes.numel());
    std::memcpy(state, bytes.data(), 16);
  }
  DeviceGenerator* clone_impl() const override {
    auto* copy = new DeviceGenerator(device().index());
    copy->state[0] = state[0];
    copy->state[1] = state[1];
    return copy;
  }

  uint64_t state[2] = {c10::default_rng_seed_val, 0};
};

inline const at::Generator& default_generator() {
  static const at::Generator generator = at::make_generator<DeviceGenerator>(own_index);
  return generator;
}

// The host's generator that computes the next numbers of a device's generator, which moves on.
inline at::Generator next_numbers(const at::Generator& generator) {
  auto* device = static_cast<DeviceGenerator*>(generator.unsafeGetGeneratorImpl());
  const uint64_t mixed = (device->state[0] ^ (device->state[1] * 0x9e3779b97f4a7c15ULL)) * 0xbf58476d1ce4e5b9ULL;
  device->state[1] += 4;
  return at::detail::createCPUGenerator(mixed ^ (mixed >> 31));
}

}  // namespace standin
