// Device, streams and events. There is one stream; who waits for it is told.
#pragma once

#include "generator.h"

#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

namespace standin {

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return kNeuron; }
  c10::Device getDevice() const override { return own_device(); }
  c10::Device exchangeDevice(c10::Device device) const override {
    refuse_index(device);
    return own_device();
  }
  void setDevice(c10::Device device) const override { refuse_index(device); }
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  // Autograd has a queue for every index below this number.
  c10::DeviceIndex deviceCount() const noexcept override { return own_index + 1; }

  c10::Stream getStream(c10::Device) const override { return stream(); }
  c10::Stream getDefaultStream(c10::Device) const override { return stream(); }
  c10::Stream getStreamFromGlobalPool(c10::Device, bool) const override { return stream(); }
  c10::Stream getNewStream(c10::Device, int) const override { return stream(); }
  c10::Stream exchangeStream(c10::Stream) const override { return stream(); }

  // An event is the number of operators that were issued before it.
  void record(void** event, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {
    if (*event == nullptr) *event = new int64_t;
    *static_cast<int64_t*>(*event) = issued.load();
  }
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override {
    finish_transfers();
    return true;
  }
  void destroyEvent(void* event, const c10::DeviceIndex) const noexcept override {
    delete static_cast<int64_t*>(event);
  }
  bool queryStream(const c10::Stream&) const override {
    finish_transfers();
    return true;
  }
  void synchronizeDevice(const c10::DeviceIndex) const override { wait("device"); }
  void synchronizeStream(const c10::Stream&) const override { wait("stream"); }
  // The device goes on while the host waits for an event that has operators behind it.
  void synchronizeEvent(void* event) const override {
    const bool has_more = event == nullptr || *static_cast<int64_t*>(event) < issued.load();
    finish_transfers();
    tell(has_more ? "late_wait" : "wait", "event");
  }

  static void wait(const char* what) {
    touch();
    finish_transfers();
    tell("wait", what);
  }
  static c10::Stream stream() { return c10::Stream(c10::Stream::DEFAULT, own_device()); }
};

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return is_open.load(); }
  c10::DeviceIndex deviceCount() const override { return own_index + 1; }
  c10::DeviceIndex getCurrentDevice() const override { return own_index; }
  void setCurrentDevice(c10::DeviceIndex index) const override { refuse_index(c10::Device(kNeuron, index)); }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex) const override { return own_index; }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex) const override { return own_index; }
  at::Device getDeviceFromPtr(void*) const override { return own_device(); }
  bool isPinnedPtr(const void* data) const override { return is_pinned(data); }
  at::Allocator* getPinnedMemoryAllocator() const override { return &pinned_memory; }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override { return default_generator(); }
  at::Generator getNewGenerator(c10::DeviceIndex) const override {
    return at::make_generator<DeviceGenerator>(own_index);
  }
  void resizePrivateUse1Bytes(const c10::Storage& storage, size_t size) const override { grow(storage, size); }
};

}  // namespace standin
