// The trees of a geometry by where their frame begins, and the draws of that place and of all else that is unknown.
#include <mutex>

#include "trees.hpp"

namespace skyfold {
namespace {

using Origin = std::vector<Size>;
using Proposals = std::vector<std::pair<double, Origin>>;

constexpr std::size_t most = 16; // trees that are kept

// An image, given by its axes, lies in a frame that goes round; pixels of a sphere have one order.
class Forest {
public:
  Forest(const std::vector<Size>& axes_, const std::optional<Array<std::int32_t>>& order_, std::vector<int> branching,
         Size energies_, Size pixels_, const Map& measure_, const Map& strength_, std::vector<double> factors)
      : axes(axes_), energies(energies_), pixels(pixels_), measure(measure_), strength(strength_),
        plan{nullptr, 1, std::move(branching), nullptr, nullptr, std::move(factors)} {
    for (const int number : plan.branching) plan.places *= number;
    for (const Map* map : {&measure, &strength})
      if (*map && (*map)->size() != energies * pixels)
        throw py::value_error("measure and strength must have the shape (energies, pixels)");
    if (measure) plan.measure = measure->data();
    if (strength) plan.strength = strength->data();
    if (plan.factors.size() != plan.branching.size()) throw py::value_error("there must be one factor for each level");
    if (axes.size() > 2 || axes.empty() != order_.has_value())
      throw py::value_error("there must be one or two axes, or an order of the pixels");
    side = Size{1} << plan.branching.size();
    if (!order_) return;
    order.assign(order_->data(), order_->data() + order_->size());
    if (static_cast<Size>(order.size()) != plan.places || *std::max_element(order.begin(), order.end()) >= pixels)
      throw py::value_error("the order must hold pixels, and fit the branching");
  }

  // The trees whose frame begins at a place of it.
  std::shared_ptr<Trees> at(const Origin& origin) {
    if (origin.size() != axes.size()) throw py::value_error("there must be one number of the origin for each axis");
    {
      const std::lock_guard locked(mutex);
      const auto found = std::find_if(kept.begin(), kept.end(), [&](const auto& one) { return one.first == origin; });
      if (found != kept.end()) {
        std::rotate(kept.begin(), found, found + 1);
        return kept.front().second;
      }
    }
    const auto pixels_in_order = order_at(origin);
    Plan own(plan);
    own.order = pixels_in_order.data();
    auto planted = std::make_shared<Trees>(std::move(own), energies, pixels, axes.empty());
    const std::lock_guard locked(mutex);
    kept.emplace(kept.begin(), origin, planted);
    if (kept.size() > most) kept.pop_back();
    return planted;
  }

  // Draws the counts that were missed; then walks from origin to origin, each a step from the one before, accepted if
  // the log probability of the counts rises by more than the number beside it (Metropolis-Hastings); then draws
  // strengths and values, as Trees does.
  py::tuple draw(Origin origin, const Proposals& steps, const Array<Size>& counts, const Array<double>& values,
                 const Map& missed, const Array<double>& alpha, const Prior& prior, std::pair<double, double> total,
                 const Array<double>& scale, Key key) {
    auto trees = at(origin);
    trees->check(counts.size(), alpha, scale.size());
    if (missed && (missed->size() != counts.size() || values.size() != counts.size()))
      throw py::value_error("values and missed must have the size of the counts");
    for (const auto& [odds, by] : steps)
      if (by.size() != origin.size()) throw py::value_error("a step must have one number for each axis");
    Array<double> drawn(std::vector<py::ssize_t>(counts.shape(), counts.shape() + counts.ndim()));
    Array<double> strengths(std::vector<py::ssize_t>{energies, alpha.size() / energies});
    const Law law(prior, total);
    const Size* n = counts.data();
    const double *x = values.data(), *m = missed ? missed->data() : nullptr, *a = alpha.data(), *s = scale.data();
    double *to = drawn.mutable_data(), *own = strengths.mutable_data(), density;
    {
      py::gil_scoped_release unlocked;
      std::vector<Size> all;
      if (m) {
        Stream stream(key, 0, 3);
        for (Size i = 0; i < energies * pixels; ++i) all.push_back(n[i] + stream.poisson(m[i] * x[i]));
        n = all.data();
      }
      auto counted = trees->counted(n, law.prior || !steps.empty());
      double here = steps.empty() ? 0.0 : trees->marginal_of(counted, a, law);
      for (const auto& [odds, by] : steps) {
        Origin there(origin);
        for (std::size_t axis = 0; axis < there.size(); ++axis) there[axis] = (there[axis] + by[axis]) & (side - 1);
        auto others = at(there);
        auto counted_there = others->counted(n, true);
        const double value = others->marginal_of(counted_there, a, law);
        if (!(odds < value - here)) continue;
        origin = there, trees = others, counted = std::move(counted_there), here = value;
      }
      density = trees->draw_all(counted, a, law, s, key, own, to);
    }
    return py::make_tuple(drawn, strengths, origin, density);
  }

private:
  // The pixels of the frame in the order of the tree, -1 where there is none.
  std::vector<std::int32_t> order_at(const Origin& origin) const {
    if (axes.empty()) return order;
    std::vector<std::int32_t> found(plan.places);
    if (axes.size() == 2) {
      quad_order(axes[0], axes[1], side, origin[0], origin[1], found.data());
      return found;
    }
    for (Size i = 0; i < side; ++i) {
      const Size pixel = (i + origin[0]) & (side - 1);
      found[i] = pixel < pixels ? static_cast<std::int32_t>(pixel) : -1;
    }
    return found;
  }

  std::vector<Size> axes;
  Size side, energies, pixels;
  Map measure, strength;
  Plan plan; // but for the order of the pixels
  std::vector<std::int32_t> order;
  std::mutex mutex;
  std::vector<std::pair<Origin, std::shared_ptr<Trees>>> kept; // those asked for last first
};

} // namespace
} // namespace skyfold

void bind_trees(py::module_& m) {
  using namespace skyfold;
  py::class_<Trees, std::shared_ptr<Trees>>(m, "Trees")
      .def("draw", &Trees::draw, py::arg("counts").noconvert(), py::arg("alpha"), py::arg("prior"), py::arg("total"),
           py::arg("scale"), py::arg("seen"), py::arg("key"))
      .def("maximise", &Trees::maximise, py::arg("counts"), py::arg("alpha"), py::arg("prior"), py::arg("total"),
           py::arg("scale"))
      .def("log_density", &Trees::log_density, py::arg("values"), py::arg("alpha"), py::arg("prior"), py::arg("total"),
           py::arg("scale"))
      .def("log_marginal", &Trees::log_marginal, py::arg("counts").noconvert(), py::arg("alpha"), py::arg("total"))
      .def("splits", &Trees::splits, py::arg("energy"))
      .def("leaves", &Trees::leaves, py::arg("energy"))
      .def("links", &Trees::linked, py::arg("energy"))
      .def("strengths", &Trees::strengths, py::arg("energy"), py::arg("alpha"))
      .def("sums", &Trees::sums, py::arg("energy"), py::arg("values"))
      .def("tiling", &Trees::tiling, py::arg("energy"), py::arg("level"), py::arg("shift"));
  py::class_<Forest>(m, "Forest")
      .def(py::init<const std::vector<Size>&, const std::optional<Array<std::int32_t>>&, std::vector<int>, Size, Size,
                    const Map&, const Map&, std::vector<double>>(),
           py::arg("axes"), py::arg("order").noconvert(), py::arg("branching"), py::arg("energies"), py::arg("pixels"),
           py::arg("measure"), py::arg("strength"), py::arg("factors"))
      .def("at", &Forest::at, py::arg("origin"))
      .def("draw", &Forest::draw, py::arg("origin"), py::arg("steps"), py::arg("counts").noconvert(), py::arg("values"),
           py::arg("missed"), py::arg("alpha"), py::arg("prior"), py::arg("total"), py::arg("scale"), py::arg("key"));
}
