// Memory that a thread keeps from call to call: fresh pages cost as much as what is done on them.
#pragma once
#include <utility>
#include <vector>

namespace skyfold {

class Memory {
public:
  explicit Memory(std::size_t bytes) {
    if (!kept().empty()) all = std::move(kept().back()), kept().pop_back();
    if (all.size() < bytes) all = std::vector<char>(bytes);
  }
  ~Memory() {
    if (!all.empty()) kept().push_back(std::move(all));
  }
  Memory(Memory&&) = default;
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  void* data() { return all.data(); }

private:
  std::vector<char> all;

  static std::vector<std::vector<char>>& kept() {
    thread_local std::vector<std::vector<char>> all;
    return all;
  }
};

} // namespace skyfold
