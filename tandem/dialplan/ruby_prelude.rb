# What stands before every Ruby dialplan: `sys` and `req` under the names that people know, and the
# few things of old Ruby and of .NET that their scripts lean on. It guards nothing: a script may
# change all of it and harms only itself. What a script can't do, the sandbox has no way to do.
require "js"
require "json"
require "time"
require "date"
require "set"

$LOADED_FEATURES << "rubygems.rb" # scripts begin with it out of habit

module Tandem
  FILE = "dialplan"

  # What the switch refuses to do, with the reason.
  class DialplanError < StandardError; end

  # Something of the switch's: fields under any spelling of their names.
  class Record
    undef_method :method, :display, :hash

    def initialize(fields)
      @fields = fields.to_h { |name, value| [Tandem.fold(name), Tandem.wrap(value)] }
    end

    def to_s = (@fields["text"] || @fields).to_s
    alias to_str to_s
    alias inspect to_s

    def ==(other) = to_s == other.to_s
    def =~(pattern) = to_s =~ pattern

    def respond_to_missing?(name, _private = false) = @fields.key?(Tandem.fold(name))

    def method_missing(name, *args)
      key = Tandem.fold(name)
      return @fields[key] = args.first if name.end_with?("=")
      return @fields[key].is_a?(String) ? @fields[key].dup : @fields[key] if @fields.key?(key)

      raise NoMethodError, "there is no #{name} here, only #{@fields.keys.join(", ")}"
    end
  end

  # What came of a dial: compares as the name or the number of the original's enumeration.
  class DialResult
    NAMES = %w[Unknown Answered NoAnswer Failed ClientCancelled AdminCancelled TimedOut Error AlreadyAnswered].freeze

    def initialize(name) = @name = name
    def to_s = @name
    def to_i = NAMES.index(@name) || 0
    def ==(other) = other.is_a?(Integer) ? to_i == other : to_s == other.to_s
    alias inspect to_s
    NAMES.each { |name| const_set(name, new(name)) }
  end

  # `sys`: every method is asked of the switch, which knows the names.
  class Sys
    undef_method :method, :display

    def Log(text = "") = Tandem.ask("Log", [text.to_s])
    alias log Log

    def method_missing(name, *args, **named) = Tandem.ask(name, args, named)
    def respond_to_missing?(_name, _private = false) = true
    def inspect = "sys"
    alias to_s inspect
  end

  # `puts` in a dialplan is a line of its log.
  class Log < BasicObject
    def initialize = @rest = +""

    def write(*texts)
      texts.each { |text| @rest << text.to_s }
      while (line = @rest.slice!(/\A.*\n/))
        ::Tandem.ask("Log", [line.chomp])
      end
      texts.sum { |text| text.to_s.bytesize }
    end

    def flush
      ::Tandem.ask("Log", [@rest.dup]) unless @rest.empty?
      @rest.clear
      self
    end

    def puts(*things)
      things = [""] if things.empty?
      things.flatten.each { |thing| write("#{thing.to_s.chomp}\n") }
      nil
    end

    def print(*things) = things.each { |thing| write(thing) } && nil
    def <<(thing) = write(thing) && self
    def sync = true
    def sync=(value)
      value
    end
    def tty? = false
    def respond_to?(*) = true
  end

  class << self
    def fold(name) = name.to_s.delete("_?=").downcase

    def wrap(value)
      case value
      when Hash then value.key?("dialled") ? DialResult.new(value["dialled"]) : Record.new(value)
      when Array then value.map { |one| wrap(one) }
      else value
      end
    end

    # Something that a script handed over, in a form that can travel.
    def plain(value)
      case value
      when nil, true, false, Integer then value
      when Float then value.finite? ? value : value.to_s
      when Array then value.map { |one| plain(one) }
      when Hash then value.to_h { |key, one| [plain(key.to_s), plain(one)] }
      else value.to_s.dup.force_encoding(Encoding::UTF_8).scrub
      end
    end

    def line = caller_locations.find { |place| place.path == FILE }&.lineno || 0

    def exchange(name, line, args, named = {})
      JSON.parse(JS.eval(JSON.generate([plain(name), line, plain(args), plain(named)])).to_s, max_nesting: 64)
    end

    def ask(name, args, named = {})
      answer = exchange(name, line, args, named)
      raise DialplanError, answer["error"] if answer["error"]
      raise NoMethodError, answer["missing"] if answer["missing"]

      wrap(answer["value"])
    end

    def main
      job = exchange("start", 0, [])["value"]
      return check(job["source"], job["names"]) if job["check"]

      prepare(job)
      compile(job["source"]).eval
      $stdout.flush
    rescue SystemExit, UncaughtThrowError
      nil
    rescue Exception => e # whatever it is, the author is to hear of it
      report(e)
    end

    def compile(source)
      RubyVM::InstructionSequence.compile(source, FILE, FILE, 1)
    rescue SyntaxError => e
      begin
        RubyVM::InstructionSequence.compile(modern(source), FILE, FILE, 1)
      rescue SyntaxError
        raise e
      end
    end

    # Ruby 1.8 took `when /^1/ : sys.Dial(…)`. Tried only on what is no Ruby of today.
    def modern(source) = source.gsub(/^(\s*(?:when|if|elsif|unless)\b[^?\n]*?\S)\s*:(?=\s)/) { "#{$1} then" }

    def prepare(job)
      srand(job["seed"])
      $stdout = Log.new
      $sys = Sys.new
      $req = Record.new(job["req"])
      @offset = job["utc_offset"]
    end

    attr_reader :offset

    def report(error)
      limit = { NoMemoryError => "memory", SystemStackError => "depth" }[error.class].to_s
      place = error.backtrace_locations&.find { |one| one.path == FILE }
      line = place ? place.lineno : error.message[/\A#{FILE}:(\d+)/, 1].to_i
      GC.start
      text = error.message.to_s[0, 2000]
      text = "#{text} (#{error.class})" unless error.is_a?(DialplanError)
      exchange("fault", line, [text, limit])
    end

    # Asked when a dialplan is saved: what does not parse, and what `sys` does not have.
    def check(source, names)
      require "prism"
      parsed = Prism.parse(source, version: "3.4.0")
      parsed = [Prism.parse(modern(source), version: "3.4.0"), parsed].find(&:success?) || parsed if parsed.failure?
      found = parsed.errors.map { |one| [one.message, *place(one)] }
      found = unknown(parsed.value, names) if found.empty?
      exchange("problems", 0, found.first(50))
    end

    def place(one)
      location = one.respond_to?(:message_loc) && one.message_loc || one.location
      [location.start_line, location.start_column + 1]
    end

    def unknown(tree, names)
      pending = [tree]
      found = []
      while (node = pending.pop)
        pending.concat(node.compact_child_nodes)
        found << [lacking(node, names), *place(node)] if node.is_a?(Prism::CallNode) && lacking(node, names)
      end
      found.sort_by { |one| one.drop(1) }
    end

    def lacking(node, names)
      if node.receiver && %w[sys $sys].include?(node.receiver.slice)
        "sys has no #{node.name}" unless names.include?(fold(node.name))
      elsif node.receiver.nil? && node.name == :require && node.arguments&.arguments&.first.is_a?(Prism::StringNode)
        library = node.arguments.arguments.first.unescaped
        "there is no library #{library} here" unless available?(library)
      end
    end

    def available?(library)
      $LOADED_FEATURES.include?("#{library}.rb") || $LOAD_PATH.resolve_feature_path(library)
    rescue LoadError
      false
    end
  end
end

DialPlanAppResult = Tandem::DialResult

module Kernel
  def sys = $sys
  def req = $req
  def sleep(seconds = 1_000_000_000) = Tandem.ask("sleep", [seconds])

  %i[system exec spawn fork ` open syscall trap].each do |name|
    define_method(name) { |*| raise SecurityError, "a dialplan can't use #{name}" }
    Kernel.define_singleton_method(name) { |*| raise SecurityError, "a dialplan can't use #{name}" }
  end
end

[[IO, :popen], [IO, :pipe], [Process, :spawn], [Process, :fork], [Process, :kill], [Process, :daemon],
 [Thread, :new], [Thread, :start], [Thread, :fork]].each do |owner, name|
  owner.define_singleton_method(name) { |*| raise SecurityError, "a dialplan can't use #{owner}.#{name}" }
end

# The customer's time zone, since the machine has none.
class << Time
  alias_method :now_in_utc, :now

  def now(in: nil)
    zone = binding.local_variable_get(:in)
    now_in_utc.localtime(zone || Tandem.offset || 0)
  end

  alias_method :local_in_utc, :local

  def local(*args) = local_in_utc(*args).then { |at| (at - (Tandem.offset || 0)).localtime(Tandem.offset || 0) }
  alias_method :mktime, :local
end

# Ruby 1.8 and .NET, as far as dialplans used them.
Fixnum = Bignum = Integer

class Object
  def ToString = to_s
end

class NilClass
  def ToString = ""
end

class Hash
  def ContainsKey(key) = key?(key)
  def ContainsValue(value) = value?(value)
end

class Array
  def nitems = compact.size
  def choice = sample
end

class String
  def to_a = lines
  def each(&) = each_line(&)
  def StartsWith(text) = start_with?(text)
  def EndsWith(text) = end_with?(text)
  def Contains(text) = include?(text)
  def Replace(old, new) = gsub(old.to_s) { new.to_s }
  def Substring(first, count = size) = self[first, count]
  def IndexOf(text) = index(text) || -1
  def ToLower = downcase
  def ToUpper = upcase
  def Trim = strip
  def Length = size
end
