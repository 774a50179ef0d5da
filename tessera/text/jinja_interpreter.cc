#include "tessera/text/jinja_interpreter.h"

#include <algorithm>

#include "tessera/text/unicode.h"

namespace tessera::text::jinja {
namespace {

Status At(int line, const Status& s) {
  if (s.message().starts_with("template line ")) return s;
  return s.WithContext(fmt::format("template line {}", line));
}

std::string TypeRepr(const Value& v) {
  return v.IsNone() ? "None" : fmt::format("'{} object'", v.TypeName());
}

// Names that exist on Python's mutable types and that the sandbox refuses.
bool IsMutator(const Value& object, std::string_view name) {
  static constexpr std::string_view kDict[] = {"clear", "pop", "popitem", "setdefault", "update"};
  static constexpr std::string_view kList[] = {"append", "clear", "pop",    "reverse",
                                               "insert", "sort",  "extend", "remove"};
  if (object.IsDict())
    return std::find(std::begin(kDict), std::end(kDict), name) != std::end(kDict);
  if (object.IsList() && object.list().kind == List::Kind::kList) {
    return std::find(std::begin(kList), std::end(kList), name) != std::end(kList);
  }
  return false;
}

}  // namespace

struct Interpreter::Loop {
  std::vector<Value> items;
  size_t index = 0;
  int depth = 0;
  const Stmt* statement = nullptr;
  std::weak_ptr<Scope> scope;
  std::optional<Value> last_changed;
};

const Value* Argument(const Arguments& arguments, size_t index, std::string_view name) {
  if (index < arguments.positional.size()) return &arguments.positional[index];
  for (const auto& [key, value] : arguments.named) {
    if (key == name) return &value;
  }
  return nullptr;
}

Status CheckArguments(std::string_view what, const Arguments& arguments, size_t min, size_t max,
                      std::initializer_list<std::string_view> names) {
  const size_t count = arguments.positional.size() + arguments.named.size();
  if (count < min || arguments.positional.size() > max) {
    return InvalidArgument("{}: takes {} to {} arguments, {} given", what, min, max, count);
  }
  for (const auto& [key, value] : arguments.named) {
    if (std::find(names.begin(), names.end(), key) == names.end()) {
      return InvalidArgument("{}: unexpected keyword argument '{}'", what, key);
    }
  }
  return OkStatus();
}

Value MakeFunction(std::string name, std::function<Result<Value>(Interpreter&, Arguments&)> call) {
  auto callable = std::make_shared<Callable>();
  callable->name = std::move(name);
  callable->call = std::move(call);
  return Value::Of(std::move(callable));
}

Interpreter::~Interpreter() {
  for (const auto& weak : loops_) {
    if (const auto loop = weak.lock()) loop->last_changed.reset();
  }
  for (const auto& dict : namespaces_) dict->Clear();
}

Value Interpreter::NewNamespace(std::shared_ptr<Dict> dict) {
  namespaces_.push_back(dict);
  return Value::Namespace(std::move(dict));
}

Status Interpreter::CheckDepth(const Value& value) const {
  if (value.Depth() <= limits_.max_value_depth) return OkStatus();
  return ResourceExhausted("values nest deeper than {}", limits_.max_value_depth);
}

Status Interpreter::Charge(uint64_t steps) {
  steps_ += steps;
  if (steps_ > limits_.max_steps) {
    return ResourceExhausted("the template ran over its limit of {} steps", limits_.max_steps);
  }
  return OkStatus();
}

Result<Value> Interpreter::NewString(std::string s) {
  if (s.size() > limits_.max_output) {
    return ResourceExhausted("a string grew over the limit of {} bytes", limits_.max_output);
  }
  TESSERA_RETURN_IF_ERROR(Charge(1 + s.size() / 64));
  return Value::Str(std::move(s));
}

Result<std::string> Interpreter::ToString(const Value& value) {
  std::string out;
  TESSERA_RETURN_IF_ERROR(value.AppendStr(limits_.max_output, &out));
  TESSERA_RETURN_IF_ERROR(Charge(1 + out.size() / 64));
  return out;
}

Status Interpreter::Run(const Block& block, std::string* out) {
  auto flow = Execute(block, out);
  if (!flow.ok()) return flow.status();
  if (*flow != Flow::kNext) return InvalidArgument("'break' or 'continue' outside of a loop");
  return OkStatus();
}

Result<Interpreter::Flow> Interpreter::Execute(const Block& block, std::string* out) {
  if (++depth_ > limits_.max_depth) {
    return ResourceExhausted("the template nests deeper than {}", limits_.max_depth);
  }
  Flow flow = Flow::kNext;
  for (const StmtPtr& s : block) {
    auto result = Charge(1).ok() ? ExecuteOne(*s, out) : Result<Flow>(Charge(0));
    if (!result.ok()) return At(s->line, result.status());
    if (out->size() > limits_.max_output) {
      return ResourceExhausted("the output grew over the limit of {} bytes", limits_.max_output);
    }
    flow = *result;
    if (flow != Flow::kNext) break;
  }
  --depth_;
  return flow;
}

Result<std::string> Interpreter::Capture(const Block& block) {
  std::string text;
  TESSERA_RETURN_IF_ERROR(Run(block, &text));
  return text;
}

Result<Interpreter::Flow> Interpreter::ExecuteOne(const Stmt& s, std::string* out) {
  using Kind = Stmt::Kind;
  // Runs statements in a scope of their own.
  const auto scoped = [&](ScopePtr parent, auto&& action) {
    const ScopePtr saved = scope_;
    scope_ = std::make_shared<Scope>();
    scope_->parent = parent;
    auto result = action();
    scope_ = saved;
    return result;
  };
  switch (s.kind) {
    case Kind::kText: *out += s.text; return Flow::kNext;
    case Kind::kPrint: {
      TESSERA_ASSIGN_OR_RETURN(const Value value, Evaluate(*s.value));
      TESSERA_RETURN_IF_ERROR(value.AppendStr(limits_.max_output, out));
      return Flow::kNext;
    }
    case Kind::kIf:
      for (const auto& [condition, body] : s.branches) {
        TESSERA_ASSIGN_OR_RETURN(const Value value, Evaluate(*condition));
        if (value.Truthy()) return Execute(body, out);
      }
      return Execute(s.otherwise, out);
    case Kind::kFor: {
      TESSERA_ASSIGN_OR_RETURN(const Value iterable, Evaluate(*s.value));
      TESSERA_RETURN_IF_ERROR(ExecuteFor(s, iterable, 0, out));
      return Flow::kNext;
    }
    case Kind::kSet: {
      TESSERA_ASSIGN_OR_RETURN(Value value, Evaluate(*s.value));
      TESSERA_RETURN_IF_ERROR(Assign(*s.target, std::move(value)));
      return Flow::kNext;
    }
    case Kind::kSetBlock:
    case Kind::kFilterBlock: {
      auto text = scoped(scope_, [&] { return Capture(s.body); });
      if (!text.ok()) return text.status();
      const Value saved = body_;
      TESSERA_ASSIGN_OR_RETURN(body_, NewString(*std::move(text)));
      auto value = Evaluate(*s.value);
      body_ = saved;
      if (!value.ok()) return value.status();
      if (s.kind == Kind::kFilterBlock) {
        TESSERA_RETURN_IF_ERROR(value->AppendStr(limits_.max_output, out));
      } else {
        TESSERA_RETURN_IF_ERROR(Assign(*s.target, *std::move(value)));
      }
      return Flow::kNext;
    }
    case Kind::kMacro: scope_->names[s.text] = MakeMacro(s, s.text); return Flow::kNext;
    case Kind::kCallBlock: {
      TESSERA_ASSIGN_OR_RETURN(const Value callee, Evaluate(*s.value->children[0]));
      Arguments arguments;
      TESSERA_RETURN_IF_ERROR(EvaluateArguments(*s.value, &arguments));
      arguments.named.emplace_back("caller", MakeMacro(s, "caller"));
      TESSERA_ASSIGN_OR_RETURN(const Value value, Call(callee, arguments));
      TESSERA_RETURN_IF_ERROR(value.AppendStr(limits_.max_output, out));
      return Flow::kNext;
    }
    case Kind::kWith: {
      std::vector<Value> values;  // all are evaluated outside
      for (const auto& [target, value] : s.bindings) {
        TESSERA_ASSIGN_OR_RETURN(Value v, Evaluate(*value));
        values.push_back(std::move(v));
      }
      return scoped(scope_, [&]() -> Result<Flow> {
        for (size_t i = 0; i < values.size(); ++i) {
          TESSERA_RETURN_IF_ERROR(Assign(*s.bindings[i].first, values[i]));
        }
        return Execute(s.body, out);
      });
    }
    case Kind::kScope: return scoped(scope_, [&] { return Execute(s.body, out); });
    case Kind::kBreak: return Flow::kBreak;
    case Kind::kContinue: return Flow::kContinue;
  }
  return Flow::kNext;
}

Status Interpreter::ExecuteFor(const Stmt& s, const Value& iterable, int depth, std::string* out) {
  const ScopePtr outer = scope_;
  auto loop = std::make_shared<Loop>();
  TESSERA_ASSIGN_OR_RETURN(loop->items, Iterate(iterable));
  const auto enter = [&] {
    scope_ = std::make_shared<Scope>();
    scope_->parent = outer;
  };
  const auto run = [&]() -> Status {
    if (s.condition) {
      std::vector<Value> kept;
      for (Value& item : loop->items) {
        TESSERA_RETURN_IF_ERROR(Charge(1));
        enter();
        TESSERA_RETURN_IF_ERROR(Assign(*s.target, item));
        TESSERA_ASSIGN_OR_RETURN(const Value keep, Evaluate(*s.condition));
        if (keep.Truthy()) kept.push_back(std::move(item));
      }
      loop->items = std::move(kept);
    }
    loop->depth = depth;
    loop->statement = &s;
    loop->scope = outer;
    const Value loop_value = MakeLoop(loop);
    for (loop->index = 0; loop->index < loop->items.size(); ++loop->index) {
      TESSERA_RETURN_IF_ERROR(Charge(1));
      enter();
      scope_->names["loop"] = loop_value;
      TESSERA_RETURN_IF_ERROR(Assign(*s.target, loop->items[loop->index]));
      TESSERA_ASSIGN_OR_RETURN(const Flow flow, Execute(s.body, out));
      if (flow == Flow::kBreak) break;
    }
    if (loop->items.empty()) {
      enter();
      TESSERA_ASSIGN_OR_RETURN(const Flow flow, Execute(s.otherwise, out));
      (void)flow;
    }
    return OkStatus();
  };
  const Status status = run();
  scope_ = outer;
  return status;
}

Value Interpreter::MakeLoop(std::shared_ptr<Loop> loop) {
  auto callable = std::make_shared<Callable>();
  callable->name = "loop";
  loops_.push_back(loop);
  for (const Value& item : loop->items)
    callable->depth = std::max(callable->depth, item.Depth() + 1);
  callable->call = [loop](Interpreter& in, Arguments& arguments) -> Result<Value> {
    if (!loop->statement->recursive) return InvalidArgument("the loop is not marked 'recursive'");
    if (arguments.positional.size() != 1) return InvalidArgument("loop() takes one argument");
    if (++in.depth_ > in.limits_.max_depth) {
      return ResourceExhausted("the template nests deeper than {}", in.limits_.max_depth);
    }
    std::string text;
    const ScopePtr saved = in.scope_;
    in.scope_ = loop->scope.lock();
    if (!in.scope_) return InvalidArgument("loop() is called after its loop ended");
    const Status status =
        in.ExecuteFor(*loop->statement, arguments.positional[0], loop->depth + 1, &text);
    in.scope_ = saved;
    --in.depth_;
    if (!status.ok()) return status;
    return in.NewString(std::move(text));
  };
  callable->attribute = [loop](std::string_view name) -> std::optional<Value> {
    const auto n = static_cast<int64_t>(loop->items.size());
    const auto i = static_cast<int64_t>(loop->index);
    if (name == "index") return Value::Int(i + 1);
    if (name == "index0") return Value::Int(i);
    if (name == "revindex") return Value::Int(n - i);
    if (name == "revindex0") return Value::Int(n - i - 1);
    if (name == "first") return Value::Bool(i == 0);
    if (name == "last") return Value::Bool(i + 1 == n);
    if (name == "length") return Value::Int(n);
    if (name == "depth") return Value::Int(loop->depth + 1);
    if (name == "depth0") return Value::Int(loop->depth);
    if (name == "previtem") {
      return i > 0 ? loop->items[loop->index - 1]
                   : Value::MakeUndefined("there is no previous item");
    }
    if (name == "nextitem") {
      return i + 1 < n ? loop->items[loop->index + 1]
                       : Value::MakeUndefined("there is no next item");
    }
    if (name == "cycle") {
      return MakeFunction("cycle", [loop](Interpreter&, Arguments& a) -> Result<Value> {
        if (a.positional.empty()) return InvalidArgument("no items for cycling given");
        return a.positional[loop->index % a.positional.size()];
      });
    }
    if (name == "changed") {
      return MakeFunction("changed", [loop](Interpreter&, Arguments& a) -> Result<Value> {
        const Value now = Value::Of(a.positional, List::Kind::kTuple);
        const bool changed = !loop->last_changed || !Equal(*loop->last_changed, now);
        if (changed) loop->last_changed = now;
        return Value::Bool(changed);
      });
    }
    return std::nullopt;
  };
  return Value::Of(std::move(callable));
}

Value Interpreter::MakeMacro(const Stmt& s, std::string name) {
  const Stmt* statement = &s;
  // Weak: the scope holds the macro. It outlives it, because a macro is only reached through its
  // scope or while the call that made that scope is under way.
  std::weak_ptr<Scope> closure = scope_;
  auto callable = std::make_shared<Callable>();
  callable->name = name;
  callable->call = [statement, name, closure](Interpreter& in,
                                              Arguments& arguments) -> Result<Value> {
    const ScopePtr scope = closure.lock();
    if (!scope) return InvalidArgument("macro '{}' is called after its scope ended", name);
    return in.CallMacro(*statement, name, scope, arguments);
  };
  callable->attribute = [name](std::string_view attribute) -> std::optional<Value> {
    if (attribute == "name") return Value::Str(name);
    return std::nullopt;
  };
  return Value::Of(std::move(callable));
}

Result<Value> Interpreter::CallMacro(const Stmt& s, const std::string& name,
                                     const ScopePtr& closure, Arguments& arguments) {
  const ScopePtr saved = scope_;
  auto scope = std::make_shared<Scope>();
  scope->parent = closure;
  std::vector<bool> used(arguments.named.size(), false);
  const auto keyword = [&](std::string_view key) -> Value* {
    for (size_t i = 0; i < arguments.named.size(); ++i) {
      if (arguments.named[i].first == key && !used[i]) {
        used[i] = true;
        return &arguments.named[i].second;
      }
    }
    return nullptr;
  };
  const auto run = [&]() -> Result<Value> {
    scope_ = scope;
    for (size_t i = 0; i < s.parameters.size(); ++i) {
      const auto& [parameter, fallback] = s.parameters[i];
      if (i < arguments.positional.size()) {
        scope->names[parameter] = arguments.positional[i];
      } else if (Value* named = keyword(parameter)) {
        scope->names[parameter] = *named;
      } else if (fallback) {
        TESSERA_ASSIGN_OR_RETURN(Value value, Evaluate(*fallback));
        scope->names[parameter] = std::move(value);
      } else {
        scope->names[parameter] =
            Value::MakeUndefined(fmt::format("parameter '{}' was not provided", parameter));
      }
    }
    if (s.uses_caller) {
      Value* caller = keyword("caller");
      scope->names["caller"] = caller ? *caller : Value::MakeUndefined("No caller defined");
    }
    if (s.uses_kwargs) {
      auto rest = std::make_shared<Dict>();
      for (size_t i = 0; i < arguments.named.size(); ++i) {
        if (!used[i]) rest->Set(arguments.named[i].first, arguments.named[i].second);
      }
      scope->names["kwargs"] = Value::Of(std::move(rest));
    } else if (const auto it = std::find(used.begin(), used.end(), false); it != used.end()) {
      return InvalidArgument("macro '{}' takes no keyword argument '{}'", name,
                             arguments.named[static_cast<size_t>(it - used.begin())].first);
    }
    std::vector<Value> extra;
    for (size_t i = s.parameters.size(); i < arguments.positional.size(); ++i) {
      extra.push_back(arguments.positional[i]);
    }
    if (s.uses_varargs) {
      scope->names["varargs"] = Value::Of(std::move(extra), List::Kind::kTuple);
    } else if (!extra.empty()) {
      return InvalidArgument("macro '{}' takes not more than {} argument(s)", name,
                             s.parameters.size());
    }
    TESSERA_ASSIGN_OR_RETURN(std::string text, Capture(s.body));
    return NewString(std::move(text));
  };
  auto result = run();
  scope_ = saved;
  return result;
}

Status Interpreter::Assign(const Expr& target, Value value) {
  TESSERA_RETURN_IF_ERROR(CheckDepth(value));
  if (target.kind == Expr::Kind::kName) {
    scope_->names[target.name] = std::move(value);
    return OkStatus();
  }
  if (target.kind == Expr::Kind::kAttribute) {
    const Value object = Lookup(target.children[0]->name);
    if (!object.IsNamespace()) {
      return InvalidArgument("cannot assign attribute on non-namespace object");
    }
    object.dict()->Set(target.name, std::move(value));
    return OkStatus();
  }
  TESSERA_ASSIGN_OR_RETURN(const auto items, Iterate(value));
  if (items.size() != target.children.size()) {
    return InvalidArgument("cannot unpack {} values into {} names", items.size(),
                           target.children.size());
  }
  for (size_t i = 0; i < items.size(); ++i) {
    TESSERA_RETURN_IF_ERROR(Assign(*target.children[i], items[i]));
  }
  return OkStatus();
}

Value Interpreter::Lookup(const std::string& name) const {
  for (const Scope* scope = scope_.get(); scope != nullptr; scope = scope->parent.get()) {
    const auto it = scope->names.find(name);
    if (it != scope->names.end()) return it->second;
  }
  return Value::MakeUndefined(fmt::format("'{}' is undefined", name));
}

Result<std::vector<Value>> Interpreter::Iterate(const Value& value) {
  std::vector<Value> out;
  if (value.IsUndefined()) return out;
  if (value.IsList()) {
    out = value.items();
  } else if (value.IsDict()) {
    for (const auto& [key, item] : value.dict()->items()) out.push_back(key);
  } else if (value.IsString()) {
    const std::string& s = value.str();
    TESSERA_RETURN_IF_ERROR(Charge(s.size()));
    for (size_t pos = 0; pos < s.size();) {
      const size_t begin = pos;
      NextChar(s, &pos);
      out.push_back(Value::Str(s.substr(begin, pos - begin)));
    }
  } else {
    return InvalidArgument("'{}' object is not iterable", value.TypeName());
  }
  TESSERA_RETURN_IF_ERROR(Charge(out.size()));
  return out;
}

Result<Value> Interpreter::Call(const Value& callee, Arguments& arguments) {
  TESSERA_RETURN_IF_ERROR(Charge(1));
  if (callee.IsUndefined()) return InvalidArgument("{}", callee.message());
  if (!callee.IsCallable())
    return InvalidArgument("'{}' object is not callable", callee.TypeName());
  const auto callable = callee.callable();  // keeps it alive during the call
  return callable->call(*this, arguments);
}

Result<Value> Interpreter::GetAttribute(const Value& object, std::string_view name) {
  if (object.IsUndefined()) return InvalidArgument("{}", object.message());
  if (object.IsCallable() && object.callable()->attribute) {
    if (auto found = object.callable()->attribute(name)) return *std::move(found);
  } else if (object.IsNamespace()) {
    if (const Value* member = object.dict()->Find(name)) return *member;
  } else if (IsMutator(object, name)) {
    return Value::MakeUndefined(
        fmt::format("access to attribute '{}' of '{}' object is unsafe.", name, object.TypeName()));
  } else if (auto method = FindMethod(object, name)) {
    return *std::move(method);
  } else if (object.IsDict()) {
    if (const Value* item = object.dict()->Find(name)) return *item;
  }
  return Value::MakeUndefined(fmt::format("{} has no attribute '{}'", TypeRepr(object), name));
}

Result<Value> Interpreter::GetItem(const Value& object, const Value& index) {
  if (object.IsUndefined()) return InvalidArgument("{}", object.message());
  if (object.IsDict()) {
    if (const Value* value = object.dict()->Find(index)) return *value;
  } else if ((object.IsList() && object.list().kind != List::Kind::kGenerator) ||
             object.IsString()) {
    if (index.IsInt() || index.IsBool()) {
      int64_t i = index.AsInt();
      const auto n =
          static_cast<int64_t>(object.IsList() ? object.items().size() : CountChars(object.str()));
      if (object.IsString()) TESSERA_RETURN_IF_ERROR(Charge(object.str().size() / 16));
      if (i < 0) i += n;
      if (i >= 0 && i < n) {
        if (object.IsList()) return object.items()[static_cast<size_t>(i)];
        size_t pos = 0, begin = 0;
        for (int64_t k = 0; k <= i; ++k) begin = pos, NextChar(object.str(), &pos);
        return Value::Str(object.str().substr(begin, pos - begin));
      }
    }
  }
  if (index.IsString()) {
    if (IsMutator(object, index.str()) || FindMethod(object, index.str()) || object.IsCallable() ||
        object.IsNamespace()) {
      return GetAttribute(object, index.str());
    }
    return Value::MakeUndefined(
        fmt::format("{} has no attribute '{}'", TypeRepr(object), index.str()));
  }
  std::string repr;
  TESSERA_RETURN_IF_ERROR(index.AppendRepr(1000, &repr));
  return Value::MakeUndefined(fmt::format("{} has no element {}", TypeRepr(object), repr));
}

Status Interpreter::EvaluateArguments(const Expr& e, Arguments* out) {
  for (size_t i = 1; i < e.children.size(); ++i) {
    TESSERA_ASSIGN_OR_RETURN(Value value, Evaluate(*e.children[i]));
    out->positional.push_back(std::move(value));
  }
  if (e.star) {
    TESSERA_ASSIGN_OR_RETURN(const Value value, Evaluate(*e.star));
    TESSERA_ASSIGN_OR_RETURN(const auto items, Iterate(value));
    out->positional.insert(out->positional.end(), items.begin(), items.end());
  }
  for (const auto& [name, expr] : e.keywords) {
    TESSERA_ASSIGN_OR_RETURN(Value value, Evaluate(*expr));
    out->named.emplace_back(name, std::move(value));
  }
  if (e.double_star) {
    TESSERA_ASSIGN_OR_RETURN(const Value value, Evaluate(*e.double_star));
    if (!value.IsDict()) return InvalidArgument("argument after ** must be a mapping");
    for (const auto& [key, item] : value.dict()->items()) {
      if (!key.IsString()) return InvalidArgument("keywords must be strings");
      out->named.emplace_back(key.str(), item);
    }
  }
  return OkStatus();
}

Result<Value> Interpreter::Evaluate(const Expr& e) {
  TESSERA_RETURN_IF_ERROR(Charge(1));
  if (++eval_depth_ > limits_.max_eval_depth) {
    return ResourceExhausted("expressions under way nest deeper than {}", limits_.max_eval_depth);
  }
  auto result = EvaluateKind(e);
  --eval_depth_;
  if (result.ok()) TESSERA_RETURN_IF_ERROR(CheckDepth(*result));
  return result;
}

Result<Value> Interpreter::EvaluateKind(const Expr& e) {
  using Kind = Expr::Kind;
  switch (e.kind) {
    case Kind::kConst: return e.constant;
    case Kind::kName: return Lookup(e.name);
    case Kind::kBody: return body_;
    case Kind::kList:
    case Kind::kTuple: {
      std::vector<Value> items;
      for (const auto& child : e.children) {
        TESSERA_ASSIGN_OR_RETURN(Value value, Evaluate(*child));
        items.push_back(std::move(value));
      }
      return Value::Of(std::move(items),
                       e.kind == Kind::kList ? List::Kind::kList : List::Kind::kTuple);
    }
    case Kind::kDict: {
      auto dict = std::make_shared<Dict>();
      for (size_t i = 0; i + 1 < e.children.size(); i += 2) {
        TESSERA_ASSIGN_OR_RETURN(const Value key, Evaluate(*e.children[i]));
        TESSERA_ASSIGN_OR_RETURN(Value value, Evaluate(*e.children[i + 1]));
        if (key.IsDict() || (key.IsList() && key.list().kind == List::Kind::kList)) {
          return InvalidArgument("unhashable type: '{}'", key.TypeName());
        }
        dict->Set(key, std::move(value));
      }
      return Value::Of(std::move(dict));
    }
    case Kind::kConditional: {
      TESSERA_ASSIGN_OR_RETURN(const Value condition, Evaluate(*e.children[1]));
      if (condition.Truthy()) return Evaluate(*e.children[0]);
      if (e.children[2]) return Evaluate(*e.children[2]);
      return Value::MakeUndefined(
          "the inline if-expression evaluated to false and no else section was defined.");
    }
    case Kind::kOr:
    case Kind::kAnd: {
      TESSERA_ASSIGN_OR_RETURN(Value left, Evaluate(*e.children[0]));
      if (left.Truthy() == (e.kind == Kind::kOr)) return left;
      return Evaluate(*e.children[1]);
    }
    case Kind::kNot: {
      TESSERA_ASSIGN_OR_RETURN(const Value value, Evaluate(*e.children[0]));
      return Value::Bool(!value.Truthy());
    }
    case Kind::kCompare: return EvaluateCompare(e);
    case Kind::kBinary: return EvaluateBinary(e);
    case Kind::kNegate:
    case Kind::kPlus: {
      TESSERA_ASSIGN_OR_RETURN(const Value value, Evaluate(*e.children[0]));
      if (value.IsUndefined()) return InvalidArgument("{}", value.message());
      if (value.IsFloat()) {
        return Value::Float(e.kind == Kind::kPlus ? value.AsDouble() : -value.AsDouble());
      }
      if (!value.IsNumber() || value.AsInt() == INT64_MIN) {
        return InvalidArgument("bad operand type for unary sign: '{}'", value.TypeName());
      }
      return Value::Int(e.kind == Kind::kPlus ? value.AsInt() : -value.AsInt());
    }
    case Kind::kConcat: {
      std::string text;
      for (const auto& child : e.children) {
        TESSERA_ASSIGN_OR_RETURN(const Value value, Evaluate(*child));
        TESSERA_RETURN_IF_ERROR(value.AppendStr(limits_.max_output, &text));
      }
      return NewString(std::move(text));
    }
    case Kind::kAttribute: {
      TESSERA_ASSIGN_OR_RETURN(const Value object, Evaluate(*e.children[0]));
      return GetAttribute(object, e.name);
    }
    case Kind::kItem: {
      TESSERA_ASSIGN_OR_RETURN(const Value object, Evaluate(*e.children[0]));
      TESSERA_ASSIGN_OR_RETURN(const Value index, Evaluate(*e.children[1]));
      return GetItem(object, index);
    }
    case Kind::kSlice: return EvaluateSlice(e);
    case Kind::kCall: {
      TESSERA_ASSIGN_OR_RETURN(const Value callee, Evaluate(*e.children[0]));
      Arguments arguments;
      TESSERA_RETURN_IF_ERROR(EvaluateArguments(e, &arguments));
      return Call(callee, arguments);
    }
    case Kind::kFilter:
    case Kind::kTest: {
      TESSERA_ASSIGN_OR_RETURN(const Value value, Evaluate(*e.children[0]));
      Arguments arguments;
      TESSERA_RETURN_IF_ERROR(EvaluateArguments(e, &arguments));
      if (e.kind == Kind::kFilter) return ApplyFilter(*this, e.name, value, arguments);
      TESSERA_ASSIGN_OR_RETURN(const bool passed, ApplyTest(*this, e.name, value, arguments));
      return Value::Bool(passed);
    }
  }
  return Value();
}

Result<Value> Interpreter::EvaluateSlice(const Expr& e) {
  TESSERA_ASSIGN_OR_RETURN(const Value object, Evaluate(*e.children[0]));
  std::optional<int64_t> parts[3];
  for (size_t i = 0; i < 3; ++i) {
    if (!e.children[i + 1]) continue;
    TESSERA_ASSIGN_OR_RETURN(const Value value, Evaluate(*e.children[i + 1]));
    if (value.IsNone()) continue;
    if (!value.IsInt() && !value.IsBool()) {
      return InvalidArgument("slice indices must be integers or None");
    }
    parts[i] = value.AsInt();
  }
  if (object.IsUndefined()) return InvalidArgument("{}", object.message());
  const bool generator = object.IsList() && object.list().kind == List::Kind::kGenerator;
  if ((!object.IsList() && !object.IsString()) || generator) {
    return Value::MakeUndefined(fmt::format("{} has no slices", TypeRepr(object)));
  }
  TESSERA_ASSIGN_OR_RETURN(const auto items, Iterate(object));
  const auto n = static_cast<int64_t>(items.size());
  const int64_t step = parts[2].value_or(1);
  if (step == 0) return InvalidArgument("slice step cannot be zero");
  const auto clamp = [&](std::optional<int64_t> part, int64_t fallback) {
    if (!part) return fallback;
    int64_t v = *part;
    if (v < 0) v = v < -n ? -1 : v + n;
    const int64_t low = step < 0 ? -1 : 0, high = step < 0 ? n - 1 : n;
    if (*part < -n) return low;
    return std::clamp(v, low, std::max(low, high));
  };
  const int64_t start = clamp(parts[0], step < 0 ? n - 1 : 0);
  const int64_t stop = clamp(parts[1], step < 0 ? -1 : n);
  std::vector<Value> out;
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    out.push_back(items[static_cast<size_t>(i)]);
    if (step > 0 ? step > n : step < -n) break;
    i += step;
  }
  if (object.IsList()) return Value::Of(std::move(out), object.list().kind);
  std::string text;
  for (const Value& c : out) text += c.str();
  return NewString(std::move(text));
}

Result<bool> Interpreter::Contains(const Value& container, const Value& item) {
  if (container.IsString()) {
    if (!item.IsString()) {
      if (item.IsUndefined()) return InvalidArgument("{}", item.message());
      return InvalidArgument("'in <string>' requires string as left operand, not {}",
                             item.TypeName());
    }
    TESSERA_RETURN_IF_ERROR(Charge(container.str().size() / 64));
    return container.str().find(item.str()) != std::string::npos;
  }
  if (container.IsDict()) {
    if (item.IsDict() || (item.IsList() && item.list().kind == List::Kind::kList)) {
      return InvalidArgument("unhashable type: '{}'", item.TypeName());
    }
    return container.dict()->Find(item) != nullptr;
  }
  if (container.IsUndefined()) return false;
  if (!container.IsList()) {
    return InvalidArgument("argument of type '{}' is not iterable", container.TypeName());
  }
  TESSERA_RETURN_IF_ERROR(Charge(container.items().size()));
  return std::any_of(container.items().begin(), container.items().end(),
                     [&](const Value& v) { return Equal(v, item); });
}

Result<Value> Interpreter::EvaluateCompare(const Expr& e) {
  TESSERA_ASSIGN_OR_RETURN(Value left, Evaluate(*e.children[0]));
  for (size_t i = 0; i < e.operators.size(); ++i) {
    TESSERA_ASSIGN_OR_RETURN(Value right, Evaluate(*e.children[i + 1]));
    const std::string& op = e.operators[i];
    Result<bool> holds = false;
    if (op == "==") {
      holds = Equal(left, right);
    } else if (op == "!=") {
      holds = !Equal(left, right);
    } else if (op == "in" || op == "not in") {
      holds = Contains(right, left);
      if (holds.ok() && op == "not in") holds = !*holds;
    } else if (op == "<" || op == ">=") {
      holds = Less(left, right);
      if (holds.ok() && op == ">=") holds = !*holds;
    } else {
      holds = Less(right, left);
      if (holds.ok() && op == "<=") holds = !*holds;
    }
    if (!holds.ok()) return holds.status();
    if (!*holds) return Value::Bool(false);
    left = std::move(right);
  }
  return Value::Bool(true);
}

Result<Value> Interpreter::EvaluateBinary(const Expr& e) {
  TESSERA_ASSIGN_OR_RETURN(const Value a, Evaluate(*e.children[0]));
  TESSERA_ASSIGN_OR_RETURN(const Value b, Evaluate(*e.children[1]));
  if (a.IsUndefined()) return InvalidArgument("{}", a.message());
  if (b.IsUndefined()) return InvalidArgument("{}", b.message());
  return Arithmetic(*this, e.name, a, b);
}

}  // namespace tessera::text::jinja
