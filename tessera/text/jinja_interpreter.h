// Runs the syntax tree of a template. Internal to the room; ChatTemplate is the public face.
//
// Every loop turn, call and byte of intermediate text is charged against a step budget, and
// recursion, string length and output are bounded: a hostile template ends with an error.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/text/jinja_ast.h"
#include "tessera/text/jinja_value.h"

namespace tessera::text::jinja {

struct Limits {
  uint64_t max_steps = 5'000'000;
  size_t max_output = size_t{16} << 20;  // of the text and of any one string
  int max_depth = 200;                   // nested statements, macro calls included, under way
  int max_eval_depth = 1000;             // nested expressions under way
  int max_value_depth = 200;             // lists in lists
};

struct Scope {
  std::unordered_map<std::string, Value> names;
  std::shared_ptr<Scope> parent;
};
using ScopePtr = std::shared_ptr<Scope>;

class Interpreter {
 public:
  Interpreter(const Limits& limits, ScopePtr globals)
      : limits_(limits), scope_(std::move(globals)) {}
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  Status Run(const Block& block, std::string* out);

  // Pays for work; an error when the budget is spent.
  Status Charge(uint64_t steps);
  // A string value, refused when it is over the limit.
  Result<Value> NewString(std::string s);
  size_t max_output() const { return limits_.max_output; }
  // Namespaces can hold each other in cycles, so the interpreter owns and finally empties them.
  Value NewNamespace(std::shared_ptr<Dict> dict);

  Result<Value> Call(const Value& callee, Arguments& arguments);
  Result<Value> GetAttribute(const Value& object, std::string_view name);
  Result<Value> GetItem(const Value& object, const Value& index);
  // The items of an iterable; an error naming the type otherwise.
  Result<std::vector<Value>> Iterate(const Value& value);
  Result<std::string> ToString(const Value& value);

 private:
  enum class Flow { kNext, kBreak, kContinue };
  struct Loop;

  Result<Flow> Execute(const Block& block, std::string* out);
  Result<Flow> ExecuteOne(const Stmt& s, std::string* out);
  Status ExecuteFor(const Stmt& s, const Value& iterable, int depth, std::string* out);
  Result<std::string> Capture(const Block& block);
  Value MakeMacro(const Stmt& s, std::string name);
  Result<Value> CallMacro(const Stmt& s, const std::string& name, const ScopePtr& closure,
                          Arguments& arguments);
  Value MakeLoop(std::shared_ptr<Loop> loop);
  Status Assign(const Expr& target, Value value);

  Result<Value> Evaluate(const Expr& e);
  Result<Value> EvaluateSlice(const Expr& e);
  Result<Value> EvaluateCompare(const Expr& e);
  Result<Value> EvaluateBinary(const Expr& e);
  Result<bool> Contains(const Value& container, const Value& item);
  Status EvaluateArguments(const Expr& e, Arguments* out);
  Value Lookup(const std::string& name) const;
  Status CheckDepth(const Value& value) const;
  Result<Value> EvaluateKind(const Expr& e);

  const Limits& limits_;
  uint64_t steps_ = 0;
  int depth_ = 0;
  int eval_depth_ = 0;
  std::vector<std::shared_ptr<Dict>> namespaces_;
  std::vector<std::weak_ptr<Loop>> loops_;
  ScopePtr scope_;
  Value body_;  // what kBody stands for
};

// Filters and tests by name; errors for unknown names list none but say which name.
Result<Value> ApplyFilter(Interpreter& in, const std::string& name, const Value& value,
                          Arguments& arguments);
Result<bool> ApplyTest(Interpreter& in, const std::string& name, const Value& value,
                       Arguments& arguments);
bool FilterExists(std::string_view name);
bool TestExists(std::string_view name);

// Methods of str and dict; empty when the type has no such attribute.
std::optional<Value> FindMethod(const Value& object, std::string_view name);

// Argument `index`, or the keyword `name`, or null.
const Value* Argument(const Arguments& arguments, size_t index, std::string_view name);
// Error unless there are at most `max` arguments and every keyword is in `names`.
Status CheckArguments(std::string_view what, const Arguments& arguments, size_t min, size_t max,
                      std::initializer_list<std::string_view> names);

// Binary operators + - * / // % ** with Python's meaning.
Result<Value> Arithmetic(Interpreter& in, const std::string& op, const Value& a, const Value& b);

// A function value.
Value MakeFunction(std::string name, std::function<Result<Value>(Interpreter&, Arguments&)> call);

}  // namespace tessera::text::jinja
